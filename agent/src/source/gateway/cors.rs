//! The CORS filter.

use super::Reading;
use super::raw::Cors as Raw;
use crate::model::StringMatch;
use crate::model::http_rule::Cors;
use crate::source::name;
use crate::source::path::Path;
use http::{HeaderName, Method};
use std::time::Duration;

/// How long a preflight answer may be kept where nothing is said, in seconds.
const DEFAULT_MAX_AGE: i64 = 5;
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Reading<'_, '_> {
    /// Which scripts of other origins may read answers.
    pub fn cors(&mut self, raw: &Raw, path: &Path) -> Cors {
        let origins = path.key("allowOrigins");
        self.alone(&raw.allow_origins, &origins);
        let origin = |at| origins.index(at);
        let mut matches = Vec::with_capacity(raw.allow_origins.len());
        for (at, text) in raw.allow_origins.iter().enumerate() {
            matches.extend(self.origin(text, &origin(at)));
        }
        let (methods, any_method) = self.methods(&raw.allow_methods, &path.key("allowMethods"));
        let (headers, any_header) = self.header_names(&raw.allow_headers, &path.key("allowHeaders"));
        let (expose, any_expose) = self.header_names(&raw.expose_headers, &path.key("exposeHeaders"));
        let max_age = raw.max_age.unwrap_or(DEFAULT_MAX_AGE);
        let seconds = u64::try_from(max_age).ok().filter(|seconds| *seconds > 0);
        if seconds.is_none() {
            let what = format!("{max_age} is not a time: it has to be a second or more");
            self.notes.invalid("out-of-range", &path.key("maxAge"), what);
        }
        Cors {
            origins: matches,
            methods,
            any_method,
            headers,
            any_header,
            expose,
            any_expose,
            max_age: seconds.map(Duration::from_secs),
            credentials: raw.allow_credentials,
            forward_unmatched: false,
        }
    }

    /// `*` leaves no room for others.
    fn alone(&mut self, raw: &[String], path: &Path) {
        if raw.len() > 1 && raw.iter().any(|text| text == "*") {
            self.notes.error("invalid-value", path, "`*` stands for all: remove it or the others");
        }
    }

    fn origin(&mut self, text: &str, path: &Path) -> Option<StringMatch> {
        let found = origin(text);
        if found.is_none() {
            let what = format!("`{text}` is not an origin such as https://shop.example.com or https://*.example.com");
            self.notes.invalid("invalid-value", path, what);
        }
        found
    }

    fn methods(&mut self, raw: &[String], path: &Path) -> (Vec<Method>, bool) {
        self.alone(raw, path);
        let mut methods = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate().filter(|(_, text)| *text != "*") {
            methods.extend(self.method(text, &path.index(at)));
        }
        (methods, raw.iter().any(|text| text == "*"))
    }

    /// One of the methods that the API lets through.
    pub fn method(&mut self, text: &str, path: &Path) -> Option<Method> {
        if METHODS.contains(&text) {
            return Method::from_bytes(text.as_bytes()).ok();
        }
        let what = format!("`{text}` is not a method: it is one of {}", METHODS.join(", "));
        self.notes.invalid("unsupported-value", path, what);
        None
    }

    fn header_names(&mut self, raw: &[String], path: &Path) -> (Vec<HeaderName>, bool) {
        self.alone(raw, path);
        let mut names = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate().filter(|(_, text)| *text != "*") {
            names.extend(self.header_name(text, &path.index(at)));
        }
        (names, raw.iter().any(|text| text == "*"))
    }
}

/// An origin as browsers send it: lower case, without the default port. A `*` stands for any number of labels.
fn origin(text: &str) -> Option<StringMatch> {
    if text == "*" {
        return Some(StringMatch::Present);
    }
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let authority = authority.strip_suffix(default).unwrap_or(authority);
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let digits = authority.len() == host.len() || (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let body = if host == "*" { "" } else { host.strip_prefix("*.").unwrap_or(host) };
    let labels = host == "*" || body.split('.').all(|label| !label.is_empty() && is_word(label));
    if !digits || !labels {
        return None;
    }
    if !host.starts_with('*') {
        return Some(StringMatch::Exact(format!("{scheme}://{authority}").into()));
    }
    let rest = regex::escape(&authority[1..]);
    name::pattern(&format!("{scheme}://[^/:]+{rest}")).ok().map(StringMatch::Regex)
}

fn is_word(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::origin;
    use crate::model::StringMatch;

    #[test]
    fn origins_are_matched_as_browsers_send_them() {
        let takes = |pattern: &str, sent: &str| match origin(pattern) {
            Some(StringMatch::Present) => true,
            Some(StringMatch::Exact(exact)) => *exact == *sent,
            Some(StringMatch::Regex(regex)) => regex.is_match(sent),
            _ => panic!("{pattern}"),
        };
        for (pattern, sent, taken) in [
            ("*", "null", true),
            ("https://shop.example.com", "https://shop.example.com", true),
            ("https://Shop.example.com:443", "https://shop.example.com", true),
            ("http://shop.example.com:8080", "http://shop.example.com", false),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://a.example.com.evil.org", false),
            ("https://*.example.com", "https://evil.org/.example.com", false),
            ("https://*", "https://anything.org", true),
            ("https://*", "http://anything.org", false),
            ("http://*:8080", "http://anything.org:8080", true),
        ] {
            assert_eq!(takes(pattern, sent), taken, "{pattern} {sent}");
        }
        for wrong in
            ["shop.example.com", "ftp://a", "https://", "https://a:b", "https://a*.com", "https://a/b", "http://a:"]
        {
            assert!(origin(wrong).is_none(), "{wrong}");
        }
    }
}
