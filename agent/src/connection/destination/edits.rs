//! Changes to a request or an answer that an external authorizer asks for.

use ::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Where a message ends and who speaks to whom: not an authorizer's to change.
const FRAMING: &[HeaderName] = &[CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE];
const UNFIT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether an authorizer may change this header.
pub fn is_changeable(name: &HeaderName) -> bool {
    !FRAMING.contains(name)
}

/// A header that is set.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderEdit {
    /// The header.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// Where others of its name are there.
    pub how: How,
}

/// What becomes of headers of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// They stay, and this one comes after them.
    Add,
    /// They stay, and this one is left out.
    AddIfAbsent,
    /// They go.
    Set,
    /// They go; without them this one is left out.
    SetIfPresent,
}

/// All changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// Headers that the application does not get.
    pub remove: Vec<HeaderName>,
    /// Headers that it gets.
    pub request: Vec<HeaderEdit>,
    /// Headers that the client gets.
    pub response: Vec<HeaderEdit>,
    /// Parameters of the query that the application does not get.
    pub remove_params: Vec<String>,
    /// Parameters that it gets, in place of those that have their name.
    pub params: Vec<(String, String)>,
}

impl HeaderEdit {
    /// Makes the change.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let there = headers.contains_key(&self.name);
        match (self.how, there) {
            (How::Add, _) | (How::AddIfAbsent, false) => drop(headers.append(&self.name, self.value.clone())),
            (How::Set, _) | (How::SetIfPresent, true) => drop(headers.insert(&self.name, self.value.clone())),
            (How::AddIfAbsent, true) | (How::SetIfPresent, false) => {}
        }
    }
}

impl Edits {
    /// Whether the request stays as it is.
    pub fn leave_request(&self) -> bool {
        self.remove.is_empty() && self.request.is_empty() && self.remove_params.is_empty() && self.params.is_empty()
    }

    /// These, then those.
    pub fn extend(&mut self, others: Self) {
        self.remove.extend(others.remove);
        self.request.extend(others.request);
        self.response.extend(others.response);
        self.remove_params.extend(others.remove_params);
        self.params.extend(others.params);
    }

    /// Changes the request.
    pub fn shape(&self, headers: &mut HeaderMap, uri: &mut Uri) {
        for name in &self.remove {
            headers.remove(name);
        }
        self.request.iter().for_each(|edit| edit.apply(headers));
        if !self.remove_params.is_empty() || !self.params.is_empty() {
            self.shape_query(uri);
        }
    }

    fn shape_query(&self, uri: &mut Uri) {
        let name = |pair: &str| {
            let key = pair.split_once('=').map_or(pair, |(key, _)| key);
            percent_decode_str(key).decode_utf8_lossy().into_owned()
        };
        let gone = |pair: &&str| {
            let name = name(pair);
            !self.remove_params.contains(&name) && !self.params.iter().any(|(key, _)| *key == name)
        };
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<String> = pairs.filter(gone).map(str::to_owned).collect();
        let fit = |text: &str| utf8_percent_encode(text, UNFIT).to_string();
        pairs.extend(self.params.iter().map(|(key, value)| format!("{}={}", fit(key), fit(value))));
        let path = uri.path();
        let text = if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(text).ok();
        if let Ok(changed) = Uri::from_parts(parts) {
            *uri = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(name: &'static str, value: &'static str, how: How) -> HeaderEdit {
        HeaderEdit { name: HeaderName::from_static(name), value: HeaderValue::from_static(value), how }
    }

    #[test]
    fn headers_are_added_set_and_removed() {
        let edits = Edits {
            remove: vec![HeaderName::from_static("gone")],
            request: vec![
                edit("set", "new", How::Set),
                edit("added", "b", How::Add),
                edit("absent", "x", How::AddIfAbsent),
                edit("added", "c", How::AddIfAbsent),
                edit("nowhere", "x", How::SetIfPresent),
            ],
            ..Edits::default()
        };
        let (mut headers, mut uri) = (HeaderMap::new(), Uri::from_static("/a?b=c"));
        for (name, value) in [("gone", "1"), ("set", "old"), ("set", "older"), ("added", "a")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        edits.shape(&mut headers, &mut uri);
        let mut seen: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        seen.sort();
        assert_eq!(seen, [r#"absent="x""#, r#"added="a""#, r#"added="b""#, r#"set="new""#]);
        assert_eq!(uri, "/a?b=c");
    }

    #[test]
    fn parameters_are_set_and_removed() {
        let edits = Edits {
            remove_params: vec!["key".to_owned()],
            params: vec![("who".to_owned(), "ann & bob".to_owned())],
            ..Edits::default()
        };
        let shaped = |uri: &'static str| {
            let mut uri = Uri::from_static(uri);
            edits.shape(&mut HeaderMap::new(), &mut uri);
            uri.to_string()
        };
        assert_eq!(shaped("/a?k%65y=1&x=2&who=eve"), "/a?x=2&who=ann%20%26%20bob");
        assert_eq!(shaped("http://books/a"), "http://books/a?who=ann%20%26%20bob");
    }
}
