//! Query parameters.

use percent_encoding::percent_decode_str;

/// The value of the first parameter of that name, as it was sent; empty where the parameter has none.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| same(key, name)).map(|(_, value)| value)
}

/// What a sent name or value stands for; none where that is what was sent, or no text.
pub fn decoded(sent: &str) -> Option<String> {
    if !sent.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return None;
    }
    // Forms write a space as a plus sign.
    let spaced = sent.replace('+', " ");
    let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
    String::from_utf8(bytes).ok()
}

fn same(sent: &str, name: &str) -> bool {
    sent == name || decoded(sent).is_some_and(|decoded| decoded == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts_however_it_is_written() {
        for (query, name, value) in [
            ("a=1&b=2&a=3", "a", Some("1")),
            ("a=1&b=2", "c", None),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("a=b=c", "a", Some("b=c")),
            ("A=1", "a", None),
            ("caf%C3%A9=1", "café", Some("1")),
            ("x+y=%20", "x y", Some("%20")),
            ("%ff=1", "x", None),
            ("", "a", None),
        ] {
            assert_eq!(parameter(query, name), value, "{query} {name}");
        }
    }

    #[test]
    fn what_was_escaped_is_decoded() {
        for (sent, meant) in
            [("a", None), ("a%20b", Some("a b")), ("a+b", Some("a b")), ("%zz", Some("%zz")), ("%ff", None)]
        {
            assert_eq!(decoded(sent).as_deref(), meant, "{sent}");
        }
    }
}
