//! Match conditions of HTTPRoute and GRPCRoute, and how specific each is.

use super::Reading;
use super::raw::{GrpcMatch, GrpcMethod, HttpMatch as RawMatch, NamedMatch, PathMatch};
use crate::model::gateway_route::{PathRank, Rank};
use crate::model::{HttpMatch, StringMatch};
use crate::source::name;
use crate::source::path::Path;
use http::HeaderName;
use std::sync::Arc;

/// A path that the schema takes has no part of these.
const NOT_IN_PATHS: &[&str] = &["//", "/./", "/../", "%2f", "%2F", "#"];

impl Reading<'_, '_> {
    /// The conditions of one match of an HTTPRoute.
    pub fn http_match(&mut self, raw: &RawMatch, path: &Path) -> (HttpMatch, Rank) {
        let (uri, path_rank) = self.path(&raw.path, &path.key("path"));
        let method = raw.method.as_deref().and_then(|text| self.method(text, &path.key("method")));
        let headers = self.headers(&raw.headers, &path.key("headers"));
        let query_params = self.query_params(&raw.query_params, &path.key("queryParams"));
        let rank = Rank {
            path: path_rank,
            method: usize::from(method.is_some()),
            headers: headers.len(),
            query_params: query_params.len(),
        };
        let method = method.map(|method| StringMatch::Exact(method.as_str().into()));
        (HttpMatch { uri, method, headers, query_params, ..HttpMatch::default() }, rank)
    }

    /// The conditions of one match of a GRPCRoute.
    pub fn grpc_match(&mut self, raw: &GrpcMatch, path: &Path) -> (HttpMatch, Rank) {
        let uri = raw.method.as_ref().and_then(|method| self.grpc_method(method, &path.key("method")));
        let headers = self.headers(&raw.headers, &path.key("headers"));
        let length = |part: fn(&GrpcMethod) -> usize| raw.method.as_ref().map_or(0, part);
        let rank = Rank {
            path: PathRank::Prefix(length(|method| method.service.len())),
            method: length(|method| method.method.len()),
            headers: headers.len(),
            query_params: 0,
        };
        (HttpMatch { uri, headers, ..HttpMatch::default() }, rank)
    }

    fn path(&mut self, raw: &PathMatch, path: &Path) -> (Option<StringMatch>, PathRank) {
        let value = raw.value.as_deref().unwrap_or("/");
        let kind = raw.r#type.as_deref().unwrap_or("PathPrefix");
        let at = path.key("value");
        if matches!(kind, "Exact" | "PathPrefix")
            && let Err(what) = is_path(value)
        {
            self.notes.invalid("invalid-path", &at, what);
        }
        match kind {
            "Exact" => (Some(StringMatch::Exact(value.into())), PathRank::Exact),
            "PathPrefix" => {
                let prefix = value.trim_end_matches('/');
                (Some(StringMatch::PathPrefix(prefix.into())), PathRank::Prefix(prefix.len()))
            }
            "RegularExpression" => (self.pattern(value, &at), PathRank::Regex(value.len())),
            other => {
                let what = format!("`{other}` is not a way to match: it is Exact, PathPrefix or RegularExpression");
                self.notes.invalid("unsupported-value", &path.key("type"), what);
                (None, PathRank::Exact)
            }
        }
    }

    fn headers(&mut self, raw: &[NamedMatch], path: &Path) -> Vec<(HeaderName, StringMatch)> {
        self.at_most(raw.len(), 16, path);
        let mut headers: Vec<(HeaderName, StringMatch)> = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            let name = self.header_name(&raw.name, &path.key("name"));
            let wanted = self.named(raw, &path);
            match name.zip(wanted) {
                Some((name, _)) if headers.iter().any(|(other, _)| *other == name) => self.repeated(&raw.name, &path),
                header => headers.extend(header),
            }
        }
        headers
    }

    fn query_params(&mut self, raw: &[NamedMatch], path: &Path) -> Vec<(Arc<str>, StringMatch)> {
        self.at_most(raw.len(), 16, path);
        let mut params: Vec<(Arc<str>, StringMatch)> = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            if raw.name.is_empty() {
                self.notes.error("missing-field", &path, "`name` is missing");
            }
            let wanted = self.named(raw, &path);
            if params.iter().any(|(other, _)| **other == *raw.name) {
                self.repeated(&raw.name, &path);
                continue;
            }
            params.extend(wanted.map(|wanted| (raw.name.as_str().into(), wanted)));
        }
        params
    }

    fn repeated(&mut self, name: &str, path: &Path) {
        let what = format!("{name} is here twice: only the first entry counts; remove this one");
        self.notes.warning("duplicate-match", path, what);
    }

    fn named(&mut self, raw: &NamedMatch, path: &Path) -> Option<StringMatch> {
        if raw.value.is_empty() {
            self.notes.error("missing-field", path, "`value` is missing");
        }
        match raw.r#type.as_deref().unwrap_or("Exact") {
            "Exact" => Some(StringMatch::Exact(raw.value.as_str().into())),
            "RegularExpression" => self.pattern(&raw.value, &path.key("value")),
            other => {
                self.not_a_way(other, path);
                None
            }
        }
    }

    fn not_a_way(&mut self, other: &str, path: &Path) {
        let what = format!("`{other}` is not a way to match: it is Exact or RegularExpression");
        self.notes.invalid("unsupported-value", &path.key("type"), what);
    }

    fn pattern(&mut self, text: &str, path: &Path) -> Option<StringMatch> {
        let pattern = name::pattern(text).map_err(|what| self.notes.invalid("invalid-regex", path, what));
        pattern.ok().map(StringMatch::Regex)
    }

    /// The path of a gRPC call is `/service/method`.
    fn grpc_method(&mut self, raw: &GrpcMethod, path: &Path) -> Option<StringMatch> {
        if raw.service.is_empty() && raw.method.is_empty() {
            self.notes.error("missing-field", path, "needs a service, a method, or both");
            return None;
        }
        match raw.r#type.as_deref().unwrap_or("Exact") {
            "Exact" => self.grpc_exact(raw, path),
            "RegularExpression" => {
                let part = |text: &str| if text.is_empty() { "[^/]+".to_owned() } else { format!("(?:{text})") };
                // Each by itself first: a pattern must not reach over the slash by closing a group.
                for (key, text) in [("service", &raw.service), ("method", &raw.method)] {
                    self.pattern(text, &path.key(key))?;
                }
                self.pattern(&format!("/{}/{}", part(&raw.service), part(&raw.method)), path)
            }
            other => {
                self.not_a_way(other, path);
                None
            }
        }
    }

    fn grpc_exact(&mut self, raw: &GrpcMethod, path: &Path) -> Option<StringMatch> {
        let service = raw.service.strip_prefix('.').unwrap_or(&raw.service);
        if !raw.service.is_empty() && !service.split('.').all(is_identifier) {
            let what = format!("`{}` is not a gRPC service such as shop.v1.Orders", raw.service);
            self.notes.invalid("invalid-value", &path.key("service"), what);
        }
        if !raw.method.is_empty() && !is_identifier(&raw.method) {
            let what = format!("`{}` is not a gRPC method such as Place", raw.method);
            self.notes.invalid("invalid-value", &path.key("method"), what);
        }
        match (raw.service.as_str(), raw.method.as_str()) {
            (service, "") => Some(StringMatch::Prefix(format!("/{service}/").into())),
            ("", method) => self.pattern(&format!("/[^/]+/{}", regex::escape(method)), path),
            (service, method) => Some(StringMatch::Exact(format!("/{service}/{method}").into())),
        }
    }
}

fn is_identifier(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(inner) && text.starts_with(|c: char| !c.is_ascii_digit())
}

fn is_path(value: &str) -> Result<(), String> {
    if !value.starts_with('/') {
        return Err(format!("`{value}` is not a path: it has to start with `/`"));
    }
    if let Some(part) = NOT_IN_PATHS.iter().find(|part| value.contains(**part)) {
        return Err(format!("`{value}` is not a path that a request can have: `{part}` is not allowed"));
    }
    if value.ends_with("/.") || value.ends_with("/..") {
        return Err(format!("`{value}` is not a path that a request can have: it ends with a dot segment"));
    }
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
    let escaped = |at: usize| {
        let digits = value.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let wrong = value.bytes().enumerate().find(|(at, byte)| !fine(*byte) || (*byte == b'%' && !escaped(*at)));
    match wrong {
        Some((at, _)) => Err(format!("`{value}` is not a path: it has to be percent-encoded from its byte {at} on")),
        None => Ok(()),
    }
}
