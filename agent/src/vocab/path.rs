//! One spelling for each path, so that rules and policies mean what they say.

use std::borrow::Cow;

/// A path with an escaped NUL, on which no two readers agree: refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path has an escaped NUL")]
pub struct NulInPath;

/// The path (without its query) as Istio's `pathNormalization: BASE` has it; the path itself where it is so already.
///
/// A backslash becomes a slash; `.` and `..` are resolved as RFC 3986 section 5.2.4 says, also where they are escaped;
/// escaped letters, digits, `-`, `.`, `_` and `~` are unescaped, once; what cannot stand in a path is escaped. Slashes
/// are neither unescaped (`%2F`) nor merged, and a percent sign without two digits stays. What does not start with a slash (`*`, nothing) is no path and stays.
///
/// # Errors
/// There is a `%00`.
pub fn normalised(path: &str) -> Result<Cow<'_, str>, NulInPath> {
    if !path.starts_with('/') || is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let spelled = spelled(path.as_bytes())?;
    Ok(Cow::Owned(resolved(&spelled)))
}

fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    for (at, &byte) in path.iter().enumerate() {
        let normal = match byte {
            b'.' => before != b'/' || !is_dots(path[at..].split(|byte| *byte == b'/').next().unwrap_or_default()),
            b'%' => escaped(&path[at..]).is_none_or(|meant| meant != 0 && !is_unreserved(meant)),
            _ => !is_unfit(byte),
        };
        if !normal {
            return false;
        }
        before = byte;
    }
    true
}

/// The same path with what is to be escaped escaped, and nothing else.
fn spelled(path: &[u8]) -> Result<String, NulInPath> {
    let mut to = String::with_capacity(path.len() + 8);
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, escaped_of(*byte, after)) {
            (_, Some(0)) => return Err(NulInPath),
            (_, Some(meant)) => {
                if is_unreserved(meant) {
                    to.push(char::from(meant));
                    rest = &after[2..];
                } else {
                    to.push('%');
                }
            }
            (b'\\', None) => to.push('/'),
            (byte, None) if is_unfit(*byte) => {
                to.push('%');
                to.push(char::from(HEX[usize::from(byte >> 4)]));
                to.push(char::from(HEX[usize::from(byte & 15)]));
            }
            (byte, None) => to.push(char::from(*byte)),
        }
    }
    Ok(to)
}

/// The path without `.` and `..`; nothing is above the root.
fn resolved(path: &str) -> String {
    let mut to = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == ".." {
            to.truncate(to.rfind('/').unwrap_or_default());
        }
        match is_dots(segment.as_bytes()) {
            true if last => to.push('/'),
            true => {}
            false => {
                to.push('/');
                to.push_str(segment);
            }
        }
    }
    to
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// What an escape at the start stands for; none where there is none, or no good one.
fn escaped(text: &[u8]) -> Option<u8> {
    text.split_first().and_then(|(first, after)| escaped_of(*first, after))
}

fn escaped_of(first: u8, after: &[u8]) -> Option<u8> {
    let (b'%', [high, low, ..]) = (first, after) else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What Envoy escapes in a path, and the backslash.
fn is_unfit(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'#' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{'..=b'}')
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, normal) in [
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a//../b", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%2Db%5f%7E%30", "/a-b_~0"),
            ("/a\\..\\b", "/b"),
            ("/a/b\\c", "/a/b/c"),
            ("/caf\u{e9}{}", "/caf%C3%A9%7B%7D"),
            ("/a/%2f../b", "/a/%2f../b"),
            ("/a/%2f/../b", "/a/b"),
        ] {
            assert_eq!(normalised(path).unwrap(), normal, "{path}");
        }
    }

    #[test]
    fn what_has_it_already_is_not_copied() {
        for path in [
            "/",
            "",
            "*",
            "/a",
            "/a/",
            "/a//b",
            "/.well-known/x",
            "/a/...",
            "/a.b/..c/d..",
            "/%2F%5c",
            "/%252e%252e/a",
            "/a%20b%zz%",
            "/a;b=c,d@e!$&'()*+:",
            "/%c3%A9",
            "/[a]",
        ] {
            assert!(matches!(normalised(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(normalised("/a%00.html"), Err(NulInPath));
        assert_eq!(normalised("/a/../b%00"), Err(NulInPath));
    }

    proptest! {
        #[test]
        fn normal_paths_are_normal(path in "/([a.2eE5cC/\\\\{é ]|%2[eEfF]|%5[cC]|%61|/\\.\\./){0,12}") {
            let once = normalised(&path).unwrap().into_owned();
            prop_assert!(matches!(normalised(&once), Ok(Cow::Borrowed(_))), "{path} {once}");
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.split('/').any(|segment| is_dots(segment.as_bytes())), "{path} {once}");
        }
    }
}
