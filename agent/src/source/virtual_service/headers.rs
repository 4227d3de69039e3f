//! Operations on headers.

use super::Reading;
use super::raw::{HeaderOps as RawOps, Headers};
use super::route::Rule;
use crate::model::Filters;
use crate::model::http_rule::HeaderOps;
use crate::source::header;
use crate::source::path::Path;
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// Whose headers.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Request,
    Answer,
}

impl Reading<'_, '_> {
    /// The operations of `headers`, which stands at `path`.
    pub fn header_filters(&mut self, raw: &Headers, path: &Path, rule: Rule<'_>) -> Filters {
        Filters {
            request: self.header_ops(&raw.request, (Of::Request, &path.key("request")), rule),
            response: self.header_ops(&raw.response, (Of::Answer, &path.key("response")), rule),
            ..Filters::default()
        }
    }

    fn header_ops(&mut self, raw: &RawOps, (of, path): (Of, &Path), rule: Rule<'_>) -> HeaderOps {
        let mut set = self.header_values(&raw.set, (of, &path.key("set")), rule);
        let (hosts, add): (Vec<_>, Vec<_>) =
            self.header_values(&raw.add, (of, &path.key("add")), rule).into_iter().partition(|(name, _)| *name == HOST);
        // There is only one authority: to add one is to set it.
        set.extend(hosts);
        let removed = path.key("remove");
        let mut remove = Vec::with_capacity(raw.remove.len());
        for (at, text) in raw.remove.iter().enumerate() {
            match header::changeable(text) {
                Ok(HOST) => self.notes.invalid("invalid-header", &removed.index(at), "`host` cannot be taken away"),
                Ok(name) => remove.push(name),
                Err(what) => self.notes.invalid("invalid-header", &removed.index(at), what),
            }
        }
        HeaderOps { remove, set, add }
    }

    fn header_values(
        &mut self,
        raw: &BTreeMap<String, String>,
        (of, path): (Of, &Path),
        rule: Rule<'_>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut values = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            let path = path.key(name);
            let name = match (name.as_str(), of) {
                (":authority", Of::Request) => Ok(HOST),
                _ => header::changeable(name),
            };
            match name {
                Ok(HOST) if of == Of::Answer => {
                    self.notes.error("invalid-header", &path, "answers have no `host`: set it on the request");
                }
                Ok(name) => values.extend(self.header_value(value, &path, rule).map(|value| (name, value))),
                Err(what) => self.notes.error("invalid-header", &path, what),
            }
        }
        values
    }

    /// Envoy fills in `%VARIABLES%`, with `%%` for a per cent sign; here there are none.
    fn header_value(&mut self, text: &str, path: &Path, rule: Rule<'_>) -> Option<HeaderValue> {
        let plain = text.replace("%%", "\0");
        if plain.contains('%') {
            let what =
                format!("`{text}` has a variable of Envoy's, which are not supported; write %% for a per cent sign");
            self.break_rule("unsupported-value", path, rule, &what);
            return None;
        }
        header::value(&plain.replace('\0', "%")).map_err(|what| self.notes.invalid("invalid-header", path, what)).ok()
    }
}
