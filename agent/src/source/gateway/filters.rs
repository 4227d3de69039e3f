//! Filters of a rule or of a backend.

use super::Reading;
use super::raw::{Filter, Header, HeaderModifier, PathModifier, RequestMirror, RequestRedirect, UrlRewrite};
use crate::model::RouteKind;
use crate::model::http_rule::{Filters, HeaderOps, Mirror, PathChange, Redirect, RedirectPort, Rewrite, Share};
use crate::source::name;
use crate::source::path::Path;
use http::{HeaderName, HeaderValue, StatusCode};
use std::sync::Arc;

/// What filters are read for.
#[derive(Clone, Copy)]
pub struct Scope {
    /// Whether they are the rule's own, not a backend's.
    pub rule: bool,
    /// Whether the rule has exactly one match, of a path's prefix.
    pub one_prefix: bool,
}

/// What filters amount to.
#[derive(Default)]
pub struct Read {
    /// What is done to requests and answers.
    pub filters: Filters,
    /// Answers instead of forwarding.
    pub redirect: Option<Redirect>,
    /// Why the filters cannot be applied as written.
    pub broken: Option<Arc<str>>,
}

const OF_GRPC: &[&str] = &["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"];
const OF_HTTP: &[&str] = &[
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "ExtensionRef",
    "RequestRedirect",
    "URLRewrite",
    "CORS",
    "ExternalAuth",
];
/// Filters that a list may have several of.
const REPEATABLE: &[&str] = &["RequestMirror", "ExtensionRef"];

impl Reading<'_, '_> {
    /// The filters of `owner` (a rule or a backend).
    pub fn filters(&mut self, raw: &[Filter], owner: &Path, scope: Scope) -> Read {
        let path = owner.key("filters");
        self.at_most(raw.len(), 16, &path);
        let mut read = Read::default();
        for (at, filter) in raw.iter().enumerate() {
            let path = path.index(at);
            if !self.is_filter(filter, &path) {
                continue;
            }
            let repeated = raw[..at].iter().any(|other| other.r#type == filter.r#type);
            if repeated && !REPEATABLE.contains(&filter.r#type.as_str()) {
                let what = format!("there is another {} filter: put everything into one", filter.r#type);
                self.notes.invalid("duplicate-filter", &path.key("type"), what);
            }
            self.filter(filter, &path, scope, &mut read);
        }
        if read.redirect.is_some() && read.filters.rewrite.is_some() {
            let what = "RequestRedirect and URLRewrite exclude each other: keep one";
            self.notes.error("incompatible-filters", &path, what);
        }
        read
    }

    /// Whether the type is one, and the field that it names is the one that is there.
    fn is_filter(&mut self, raw: &Filter, path: &Path) -> bool {
        let known = if self.kind == RouteKind::Grpc { OF_GRPC } else { OF_HTTP };
        if !known.contains(&raw.r#type.as_str()) {
            let what = format!("`{}` is not a type of filter: it is one of {}", raw.r#type, known.join(", "));
            self.notes.invalid("unsupported-value", &path.key("type"), what);
            return false;
        }
        let fields = [
            ("RequestHeaderModifier", "requestHeaderModifier", raw.request_header_modifier.is_some()),
            ("ResponseHeaderModifier", "responseHeaderModifier", raw.response_header_modifier.is_some()),
            ("RequestMirror", "requestMirror", raw.request_mirror.is_some()),
            ("RequestRedirect", "requestRedirect", raw.request_redirect.is_some()),
            ("URLRewrite", "urlRewrite", raw.url_rewrite.is_some()),
            ("CORS", "cors", raw.cors.is_some()),
            ("ExtensionRef", "extensionRef", raw.extension_ref.is_some()),
            ("ExternalAuth", "externalAuth", raw.external_auth.is_some()),
        ];
        let mut right = true;
        for (r#type, field, there) in fields {
            let wanted = r#type == raw.r#type;
            if wanted && !there {
                self.notes.error("missing-field", path, format!("`{field}` is missing: a {type} filter needs it"));
            } else if there && !wanted {
                let what = format!("does not belong to a {} filter: remove it, or set type to {type}", raw.r#type);
                self.notes.error("invalid-value", &path.key(field), what);
            }
            right &= wanted == there;
        }
        right
    }

    fn filter(&mut self, raw: &Filter, path: &Path, scope: Scope, read: &mut Read) {
        if let Some(raw) = &raw.request_header_modifier {
            read.filters.request = self.header_ops(raw, &path.key("requestHeaderModifier"));
        }
        if let Some(raw) = &raw.response_header_modifier {
            read.filters.response = self.header_ops(raw, &path.key("responseHeaderModifier"));
        }
        if let Some(raw) = &raw.request_mirror {
            read.filters.mirrors.push(self.mirror(raw, &path.key("requestMirror")));
        }
        if let Some(raw) = &raw.request_redirect {
            read.redirect = Some(self.redirect(raw, &path.key("requestRedirect"), scope));
        }
        if let Some(raw) = &raw.url_rewrite {
            read.filters.rewrite = Some(self.rewrite(raw, &path.key("urlRewrite"), scope));
        }
        if let Some(raw) = &raw.cors {
            read.filters.cors = Some(self.cors(raw, &path.key("cors")));
        }
        if let Some(field) =
            raw.extension_ref.as_ref().map(|_| "extensionRef").or(raw.external_auth.as_ref().map(|_| "externalAuth"))
        {
            let why = format!("the filter {} is not supported", raw.r#type);
            let whose = if scope.rule { "requests of this rule" } else { "requests to this backend" };
            let what = format!("{} filters are not supported and may not be skipped: {whose} get 500", raw.r#type);
            self.notes.error("unsupported-filter", &path.key(field), what);
            self.soft += 1;
            read.broken.get_or_insert_with(|| why.into());
        }
    }

    fn header_ops(&mut self, raw: &HeaderModifier, path: &Path) -> HeaderOps {
        let mut remove = Vec::with_capacity(raw.remove.len());
        for (at, name) in raw.remove.iter().enumerate() {
            remove.extend(self.header_name(name, &path.key("remove").index(at)));
        }
        let set = self.header_values(&raw.set, &path.key("set"));
        HeaderOps { remove, set, add: self.header_values(&raw.add, &path.key("add")) }
    }

    fn header_values(&mut self, raw: &[Header], path: &Path) -> Vec<(HeaderName, HeaderValue)> {
        self.at_most(raw.len(), 16, path);
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(raw.len());
        for (at, header) in raw.iter().enumerate() {
            let path = path.index(at);
            let name = self.header_name(&header.name, &path.key("name"));
            let value = HeaderValue::from_str(&header.value).ok();
            if value.is_none() {
                let what = "is not a value that a header can have: no control characters";
                self.notes.invalid("invalid-header", &path.key("value"), what);
            }
            match name.zip(value) {
                Some((name, _)) if headers.iter().any(|(other, _)| *other == name) => {
                    let what = format!("the header {name} is here twice: only the first entry counts; remove this one");
                    self.notes.warning("duplicate-header", &path, what);
                }
                header => headers.extend(header),
            }
        }
        headers
    }

    /// The name of a header.
    pub fn header_name(&mut self, text: &str, path: &Path) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        if name.is_none() {
            let what = format!("`{text}` is not a header name: letters, digits and !#$%&'*+-.^_`|~");
            self.notes.invalid("invalid-header", path, what);
        }
        name
    }

    fn mirror(&mut self, raw: &RequestMirror, path: &Path) -> Mirror {
        let (destination, broken) = self.backend(&raw.backend_ref, &path.key("backendRef"));
        if raw.percent.is_some() && raw.fraction.is_some() {
            self.notes.error("invalid-value", path, "has both percent and fraction: keep one");
        }
        let (part, of, at) = match (&raw.percent, &raw.fraction) {
            (Some(percent), _) => (*percent, 100, path.key("percent")),
            (None, Some(fraction)) => {
                let path = path.key("fraction");
                if fraction.numerator.is_none() {
                    self.notes.error("missing-field", &path, "`numerator` is missing");
                }
                (fraction.numerator.unwrap_or_default(), fraction.denominator.unwrap_or(100), path)
            }
            (None, None) => (1, 1, path.clone()),
        };
        if part < 0 || of < 1 || part > of {
            let what = format!("{part} of {of} is not a share: it has to be between none and all");
            self.notes.invalid("out-of-range", &at, what);
        }
        let millionths = i128::from(part.max(0)) * 1_000_000 / i128::from(of.max(1));
        let share = u32::try_from(millionths).map_or(Share::ALL, |share| Share(share).min(Share::ALL));
        Mirror { destination, share, broken }
    }

    fn redirect(&mut self, raw: &RequestRedirect, path: &Path, scope: Scope) -> Redirect {
        let scheme = raw.scheme.as_deref().filter(|scheme| {
            let known = matches!(*scheme, "http" | "https");
            if !known {
                let what = format!("`{scheme}` is not a scheme: it is http or https");
                self.notes.invalid("unsupported-value", &path.key("scheme"), what);
            }
            known
        });
        let number = raw.status_code.unwrap_or(302);
        let status = u16::try_from(number).ok().filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308));
        let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_else(|| {
            let what = format!("{number} is not a status of a redirect: it is 301, 302, 303, 307 or 308");
            self.notes.invalid("unsupported-value", &path.key("statusCode"), what);
            StatusCode::FOUND
        });
        let port = self.port(raw.port, &path.key("port"));
        let host = raw.hostname.as_deref().and_then(|host| self.hostname(host, &path.key("hostname")));
        let change = raw.path.as_ref().and_then(|change| self.path_change(change, &path.key("path"), scope));
        let port = port.map_or(RedirectPort::Derived, RedirectPort::Fixed);
        Redirect { status, scheme: scheme.map(Into::into), host, port, path: change }
    }

    fn rewrite(&mut self, raw: &UrlRewrite, path: &Path, scope: Scope) -> Rewrite {
        let host = raw.hostname.as_deref().and_then(|host| self.hostname(host, &path.key("hostname")));
        let authority = host.and_then(|host| HeaderValue::from_str(&host).ok());
        let change = raw.path.as_ref().and_then(|change| self.path_change(change, &path.key("path"), scope));
        Rewrite { path: change, authority }
    }

    fn hostname(&mut self, text: &str, path: &Path) -> Option<Arc<str>> {
        let right = name::is_subdomain(text);
        if !right {
            let what = format!("`{text}` is not a host name: labels of a-z, 0-9 and `-`, with dots between them");
            self.notes.invalid("invalid-host", path, what);
        }
        right.then(|| text.into())
    }

    fn path_change(&mut self, raw: &PathModifier, path: &Path, scope: Scope) -> Option<PathChange> {
        match (raw.r#type.as_str(), &raw.replace_full_path, &raw.replace_prefix_match) {
            ("ReplaceFullPath", Some(full), None) => Some(PathChange::Full(rooted(full))),
            ("ReplacePrefixMatch", None, Some(_)) if !scope.one_prefix => {
                let what = "replaces the prefix that was matched, so its rule has to have exactly one match, of type \
                            PathPrefix";
                self.notes.error("invalid-value", path, what);
                None
            }
            ("ReplacePrefixMatch", None, Some(prefix)) => {
                Some(PathChange::PathPrefix(prefix.trim_end_matches('/').into()))
            }
            ("ReplaceFullPath" | "ReplacePrefixMatch", ..) => {
                let what = "needs replaceFullPath with type ReplaceFullPath, replacePrefixMatch with type \
                            ReplacePrefixMatch, and nothing else";
                self.notes.error("invalid-value", path, what);
                None
            }
            (other, ..) => {
                let what = format!("`{other}` is not a change of a path: it is ReplaceFullPath or ReplacePrefixMatch");
                self.notes.invalid("unsupported-value", &path.key("type"), what);
                None
            }
        }
    }
}

/// A path that starts with a slash, as every path that is sent does.
fn rooted(path: &str) -> Arc<str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}
