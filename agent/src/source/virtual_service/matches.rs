//! Match conditions of HTTP, TCP and TLS rules.

use super::raw::{HttpMatch as RawHttp, L4Match as RawL4, Text};
use super::{MESH, Reading};
use crate::model::{HttpMatch, StringMatch, TcpMatch};
use crate::source::path::Path;
use crate::source::{header, name};
use crate::vocab::Namespace;
use http::HeaderName;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Reading<'_, '_> {
    /// Whether a condition for these gateways can hold in the mesh; they replace those of the object.
    pub fn holds_in_mesh(&self, gateways: &[String]) -> bool {
        match gateways.is_empty() {
            true => self.in_mesh,
            false => gateways.iter().any(|gateway| gateway == MESH),
        }
    }

    /// The conditions of one HTTP match.
    pub fn http_match(&mut self, raw: &RawHttp, path: &Path) -> HttpMatch {
        HttpMatch {
            name: (!raw.name.is_empty()).then(|| raw.name.as_str().into()),
            scheme: self.optional(raw.scheme.as_ref(), &path.key("scheme")),
            query_params: self.query_params(&raw.query_params, &path.key("queryParams")),
            uri: self.optional(raw.uri.as_ref(), &path.key("uri")),
            ignore_uri_case: raw.ignore_uri_case,
            method: self.optional(raw.method.as_ref(), &path.key("method")),
            headers: self.headers(&raw.headers, &path.key("headers")),
            without_headers: self.headers(&raw.without_headers, &path.key("withoutHeaders")),
            authority: self.optional(raw.authority.as_ref(), &path.key("authority")),
            port: self.port(raw.port, &path.key("port")),
            source_labels: raw.source_labels.clone(),
            source_namespace: self.namespace(&raw.source_namespace, &path.key("sourceNamespace")),
        }
    }

    /// The conditions of one TCP or TLS match.
    pub fn l4_match(&mut self, raw: &RawL4, path: &Path) -> TcpMatch {
        let subnets = path.key("destinationSubnets");
        let mut destination_subnets = Vec::with_capacity(raw.destination_subnets.len());
        for (at, text) in raw.destination_subnets.iter().enumerate() {
            match name::subnet(text) {
                Ok(net) => destination_subnets.push(net),
                Err(what) => self.notes.invalid("invalid-subnet", &subnets.index(at), what),
            }
        }
        TcpMatch {
            destination_subnets,
            port: self.port(raw.port, &path.key("port")),
            source_labels: raw.source_labels.clone(),
            source_namespace: self.namespace(&raw.source_namespace, &path.key("sourceNamespace")),
        }
    }

    /// A port, where one is given; zero is protobuf's way not to give one.
    pub fn port(&mut self, number: Option<i64>, path: &Path) -> Option<u16> {
        let number = number.filter(|number| *number != 0)?;
        name::port(number).map_err(|what| self.notes.invalid("invalid-port", path, what)).ok()
    }

    fn namespace(&mut self, text: &str, path: &Path) -> Option<Namespace> {
        if text.is_empty() || name::is_label(text) {
            return (!text.is_empty()).then(|| text.into());
        }
        self.notes.invalid("invalid-name", path, format!("`{text}` is not a namespace: a-z, 0-9 and `-`, at most 63"));
        None
    }

    fn query_params(&mut self, raw: &BTreeMap<String, Text>, path: &Path) -> Vec<(Arc<str>, StringMatch)> {
        let read = raw.iter().map(|(name, text)| Some((name.as_str().into(), self.text(text, &path.key(name))?)));
        read.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn optional(&mut self, raw: Option<&Text>, path: &Path) -> Option<StringMatch> {
        raw.and_then(|raw| self.text(raw, path))
    }

    fn headers(&mut self, raw: &BTreeMap<String, Text>, path: &Path) -> Vec<(HeaderName, StringMatch)> {
        let mut headers = Vec::with_capacity(raw.len());
        for (name, text) in raw {
            let path = path.key(name);
            let text = self.text(text, &path);
            match header::name(name) {
                Ok(name) => headers.extend(text.map(|text| (name, text))),
                Err(what) => self.notes.error("invalid-header", &path, what),
            }
        }
        headers
    }

    /// How a string is matched; any string where nothing is said.
    pub fn text(&mut self, raw: &Text, path: &Path) -> Option<StringMatch> {
        match (&raw.exact, &raw.prefix, &raw.regex) {
            (None, None, None) => Some(StringMatch::Present),
            (Some(text), None, None) => Some(StringMatch::Exact(text.as_str().into())),
            (None, Some(text), None) => Some(StringMatch::Prefix(text.as_str().into())),
            (None, None, Some(text)) => match name::pattern(text) {
                Ok(regex) => Some(StringMatch::Regex(regex)),
                Err(what) => {
                    self.notes.invalid("invalid-regex", &path.key("regex"), what);
                    None
                }
            },
            _ => {
                self.notes.error("invalid-value", path, "has more than one of exact, prefix and regex: keep one");
                None
            }
        }
    }
}
