//! Rules that answer by themselves: redirects and direct responses.

use super::Reading;
use super::raw::{Body, DirectResponse as RawDirect, Redirect as RawRedirect};
use crate::model::http_rule::{DirectResponse, PathChange, Redirect, RedirectPort};
use crate::source::path::Path;
use crate::source::{name, quantity};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{StatusCode, Uri};
use std::sync::Arc;

/// As Istio: a body lives in the agent's memory.
const LARGEST_BODY: usize = 1 << 20;
/// With or without padding, as protobuf's JSON is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Reading<'_, '_> {
    /// A redirect; none where it is wrong.
    pub fn redirect(&mut self, raw: &RawRedirect, path: &Path) -> Option<Redirect> {
        let before = self.notes.errors();
        let nothing = raw.uri.is_empty() && raw.authority.is_empty() && raw.scheme.is_empty();
        if nothing && raw.port.is_none() && raw.prefix_rewrite.is_none() && raw.derive_port.is_none() {
            self.notes.error(
                "missing-field",
                path,
                "says not where to: write uri, prefixRewrite, authority, scheme or port",
            );
        }
        if !matches!(raw.scheme.as_str(), "" | "http" | "https") {
            let what = format!("`{}` is not a scheme that can be redirected to: http or https", raw.scheme);
            self.notes.invalid("invalid-value", &path.key("scheme"), what);
        }
        let redirect = Redirect {
            status: self.redirect_code(raw.redirect_code, &path.key("redirectCode")),
            scheme: text(&raw.scheme),
            host: self.authority(&raw.authority, &path.key("authority")),
            port: self.redirect_port(raw, path),
            path: self.redirect_path(raw, path),
        };
        (self.notes.errors() == before).then_some(redirect)
    }

    fn redirect_code(&mut self, code: Option<i64>, path: &Path) -> StatusCode {
        match code {
            None | Some(0 | 301) => StatusCode::MOVED_PERMANENTLY,
            Some(302) => StatusCode::FOUND,
            Some(303) => StatusCode::SEE_OTHER,
            Some(307) => StatusCode::TEMPORARY_REDIRECT,
            Some(308) => StatusCode::PERMANENT_REDIRECT,
            Some(other) => {
                let what = format!("{other} is not the status of a redirect: 301, 302, 303, 307 or 308");
                self.notes.invalid("invalid-value", path, what);
                StatusCode::MOVED_PERMANENTLY
            }
        }
    }

    fn redirect_port(&mut self, raw: &RawRedirect, path: &Path) -> RedirectPort {
        if raw.port.is_some() && raw.derive_port.is_some() {
            self.notes.error("conflict", &path.key("derivePort"), "stands beside `port`: keep one of them");
        }
        match (self.port(raw.port, &path.key("port")), raw.derive_port.as_deref()) {
            (Some(port), _) => RedirectPort::Fixed(port),
            (None, None | Some("FROM_PROTOCOL_DEFAULT")) => RedirectPort::AsWritten,
            (None, Some("FROM_REQUEST_PORT")) => RedirectPort::OfRequest,
            (None, Some(other)) => {
                let what = format!("`{other}` is not known: FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT");
                self.notes.invalid("invalid-value", &path.key("derivePort"), what);
                RedirectPort::AsWritten
            }
        }
    }

    fn redirect_path(&mut self, raw: &RawRedirect, path: &Path) -> Option<PathChange> {
        match (raw.uri.as_str(), &raw.prefix_rewrite) {
            ("", None) => None,
            ("", Some(prefix)) => Some(PathChange::Prefix(prefix.as_str().into())),
            (uri, None) => self.path_text(uri, &path.key("uri")).map(PathChange::Full),
            _ => {
                self.notes.error("conflict", &path.key("prefixRewrite"), "stands beside `uri`: keep one of them");
                None
            }
        }
    }

    /// A path to be sent, with or without a query.
    pub fn path_text(&mut self, text: &str, path: &Path) -> Option<Arc<str>> {
        if text.starts_with('/') && text.parse::<Uri>().is_ok() {
            return Some(text.into());
        }
        let what = format!("`{text}` is not a path: it starts with `/` and has no blanks");
        self.notes.invalid("invalid-value", path, what);
        None
    }

    /// A host that is told to somebody, with or without a port.
    pub fn authority(&mut self, text: &str, path: &Path) -> Option<Arc<str>> {
        if text.is_empty() {
            return None;
        }
        if let Ok(authority) = text.parse::<http::uri::Authority>()
            && !text.contains('@')
            && !authority.host().is_empty()
        {
            return Some(text.into());
        }
        self.notes.invalid("invalid-host", path, format!("`{text}` is not a host, nor a host with a port"));
        None
    }

    /// A fixed answer; none where it is wrong.
    pub fn direct_response(&mut self, raw: &RawDirect, path: &Path) -> Option<DirectResponse> {
        let body = match &raw.body {
            Some(body) => self.body(body, &path.key("body")),
            None => Some(Vec::new()),
        };
        let Some(status) = raw.status else {
            self.notes.error("missing-field", path, "`status` is missing: say the status of the answer");
            return None;
        };
        let status = quantity::status(status, &path.key("status"), self.notes)?;
        Some(DirectResponse { status, body: body?.into() })
    }

    fn body(&mut self, raw: &Body, path: &Path) -> Option<Vec<u8>> {
        let body = match (&raw.string, &raw.bytes) {
            (Some(_), Some(_)) => {
                self.notes.error("conflict", &path.key("bytes"), "stands beside `string`: keep one of them");
                return None;
            }
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => match BASE64.decode(text.trim()) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.notes.invalid("invalid-value", &path.key("bytes"), format!("is not base64: {error}"));
                    return None;
                }
            },
            (None, None) => Vec::new(),
        };
        if body.len() > LARGEST_BODY {
            self.notes.error("out-of-range", path, format!("has {} bytes: the most is {LARGEST_BODY}", body.len()));
            return None;
        }
        Some(body)
    }

    /// A delegate's name.
    pub fn delegate(&mut self, raw: &super::raw::Delegate, path: &Path) -> Option<crate::model::ObjectId> {
        if raw.name.is_empty() {
            self.notes.error("missing-field", path, "`name` is missing: name the VirtualService that has the rules");
            return None;
        }
        let namespace = if raw.namespace.is_empty() { self.lookup.namespace } else { &raw.namespace };
        for (key, text, fine) in [
            ("name", raw.name.as_str(), name::is_subdomain(&raw.name)),
            ("namespace", namespace, name::is_label(namespace)),
        ] {
            if !fine {
                self.notes.invalid(
                    "invalid-name",
                    &path.key(key),
                    format!("`{text}` is not a {key}: a-z, 0-9 and `-`"),
                );
                return None;
            }
        }
        Some(crate::model::ObjectId { namespace: namespace.into(), name: raw.name.as_str().into() })
    }
}

fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}
