//! Which scripts of other origins may read answers.

use super::Reading;
use super::raw::Cors as RawCors;
use crate::model::StringMatch;
use crate::model::http_rule::Cors;
use crate::source::header;
use crate::source::path::Path;
use crate::source::quantity;
use http::{HeaderName, Method};

/// The methods that Istio takes.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

impl Reading<'_, '_> {
    /// What `corsPolicy` says.
    pub fn cors(&mut self, raw: &RawCors, path: &Path) -> Cors {
        let (methods, any_method) = self.methods(&raw.allow_methods, &path.key("allowMethods"));
        let (headers, any_header) = self.header_names(&raw.allow_headers, &path.key("allowHeaders"));
        let (expose, any_expose) = self.header_names(&raw.expose_headers, &path.key("exposeHeaders"));
        let max_age = quantity::duration(raw.max_age.as_ref(), &path.key("maxAge"), self.notes);
        if max_age.is_some_and(|age| age.subsec_nanos() > 0) {
            self.notes.invalid("invalid-duration", &path.key("maxAge"), "has to be whole seconds");
        }
        Cors {
            origins: self.origins(raw, path),
            methods,
            any_method,
            headers,
            any_header,
            expose,
            any_expose,
            max_age,
            credentials: raw.allow_credentials,
            forward_unmatched: self
                .forward_unmatched(raw.unmatched_preflights.as_deref(), &path.key("unmatchedPreflights")),
        }
    }

    fn forward_unmatched(&mut self, raw: Option<&str>, path: &Path) -> bool {
        match raw {
            None | Some("UNSPECIFIED" | "FORWARD") => true,
            Some("IGNORE") => false,
            Some(other) => {
                self.notes.invalid("invalid-value", path, format!("`{other}` is not known: FORWARD or IGNORE"));
                false
            }
        }
    }

    fn origins(&mut self, raw: &RawCors, path: &Path) -> Vec<StringMatch> {
        let (old, new) = (path.key("allowOrigin"), path.key("allowOrigins"));
        if !raw.allow_origin.is_empty() {
            let what = match raw.allow_origins.is_empty() {
                true => "is deprecated: write `allowOrigins: [{exact: ...}]`",
                false => "is deprecated, and ignored beside `allowOrigins`: remove it",
            };
            self.notes.warning("deprecated-field", &old, what);
        }
        if raw.allow_origins.is_empty() {
            return raw.allow_origin.iter().map(|origin| exact(origin)).collect();
        }
        let mut origins = Vec::with_capacity(raw.allow_origins.len());
        for (at, text) in raw.allow_origins.iter().enumerate() {
            let path = new.index(at);
            match self.text(text, &path) {
                Some(StringMatch::Exact(origin)) => origins.push(exact(&origin)),
                Some(StringMatch::Present) => {
                    let what = "names no origin: write exact, prefix or regex (`exact: \"*\"` is any)";
                    self.notes.error("missing-field", &path, what);
                }
                found => origins.extend(found),
            }
        }
        origins
    }

    fn methods(&mut self, raw: &[String], path: &Path) -> (Vec<Method>, bool) {
        let mut methods = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate().filter(|(_, text)| *text != "*") {
            match Method::from_bytes(text.as_bytes()) {
                Ok(method) if METHODS.contains(&text.as_str()) => methods.push(method),
                _ => {
                    let what = format!("`{text}` is not a method: {}, or `*`", METHODS.join(", "));
                    self.notes.invalid("invalid-value", &path.index(at), what);
                }
            }
        }
        (methods, raw.iter().any(|text| text == "*"))
    }

    fn header_names(&mut self, raw: &[String], path: &Path) -> (Vec<HeaderName>, bool) {
        let mut names = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate().filter(|(_, text)| *text != "*") {
            match header::name(text) {
                Ok(name) => names.push(name),
                Err(what) => self.notes.invalid("invalid-header", &path.index(at), what),
            }
        }
        (names, raw.iter().any(|text| text == "*"))
    }
}

fn exact(origin: &str) -> StringMatch {
    match origin {
        "*" => StringMatch::Present,
        _ => StringMatch::Exact(origin.into()),
    }
}
