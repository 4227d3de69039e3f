//! Whether a rule takes a request or a connection.

use crate::model::{HttpMatch, HttpRule, Labels, StringMatch, TcpMatch, TcpRule, Workload};
use crate::vocab::{Namespace, OrigDst};
use http::header::{HOST, HeaderName};
use http::request::Parts;
use std::str;

/// Whether a rule takes a request that came for the service port.
pub fn http_rule(rule: &HttpRule, source: &Workload, port: u16, request: &Parts) -> bool {
    let takes = |one: &HttpMatch| {
        one.port.is_none_or(|wanted| wanted == port)
            && from(source, &one.source_labels, one.source_namespace.as_ref())
            && http_match(one, request)
    };
    rule.matches.is_empty() || rule.matches.iter().any(takes)
}

/// Whether a rule takes a connection to this address.
pub fn tcp_rule(rule: &TcpRule, source: &Workload, dst: OrigDst) -> bool {
    let takes = |one: &TcpMatch| {
        let subnets = &one.destination_subnets;
        one.port.is_none_or(|wanted| wanted == dst.port())
            && (subnets.is_empty() || subnets.iter().any(|subnet| subnet.contains(&dst.ip())))
            && from(source, &one.source_labels, one.source_namespace.as_ref())
    };
    rule.matches.is_empty() || rule.matches.iter().any(takes)
}

/// The authority that the client asked for: `:authority`, an absolute target's, or `Host`.
fn authority(request: &Parts) -> Option<&str> {
    let target = request.uri.authority().map(http::uri::Authority::as_str);
    target.or_else(|| request.headers.get(HOST).and_then(|value| str::from_utf8(value.as_bytes()).ok()))
}

fn from(source: &Workload, labels: &Labels, namespace: Option<&Namespace>) -> bool {
    namespace.is_none_or(|wanted| *wanted == source.id.pod.namespace)
        && labels.iter().all(|(key, value)| source.label(key) == Some(value))
}

fn http_match(one: &HttpMatch, request: &Parts) -> bool {
    let uri = |wanted: &StringMatch| text(wanted, request.uri.path(), one.ignore_uri_case);
    let method = |wanted: &StringMatch| text(wanted, request.method.as_str(), false);
    let host = |wanted: &StringMatch| authority(request).is_some_and(|found| text(wanted, found, false));
    one.method.as_ref().is_none_or(method)
        && one.uri.as_ref().is_none_or(uri)
        && one.authority.as_ref().is_none_or(host)
        && one.headers.iter().all(|(name, wanted)| header(request, name, wanted))
        && !one.without_headers.iter().any(|(name, wanted)| header(request, name, wanted))
}

fn header(request: &Parts, name: &HeaderName, wanted: &StringMatch) -> bool {
    if *name == HOST {
        return authority(request).is_some_and(|found| text(wanted, found, false));
    }
    let mut values = request.headers.get_all(name).iter();
    let Some(first) = values.next() else { return false };
    if matches!(wanted, StringMatch::Present) {
        return true;
    }
    if values.next().is_none() {
        return str::from_utf8(first.as_bytes()).is_ok_and(|value| text(wanted, value, false));
    }
    // Envoy matches on all values of a header joined; the one place that allocates, and only for such headers.
    let all: Vec<_> = request.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    str::from_utf8(&all.join(&b',')).is_ok_and(|value| text(wanted, value, false))
}

fn text(wanted: &StringMatch, found: &str, ignore_case: bool) -> bool {
    match wanted {
        StringMatch::Exact(exact) if ignore_case => found.eq_ignore_ascii_case(exact),
        StringMatch::Exact(exact) => found == &**exact,
        StringMatch::Prefix(prefix) if ignore_case => {
            found.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        }
        StringMatch::Prefix(prefix) => found.starts_with(&**prefix),
        StringMatch::PathPrefix(prefix) => {
            found.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        // Not `is_match`: a pattern that was not anchored must take less than its author wanted, never more.
        StringMatch::Regex(regex) => regex.find(found).is_some_and(|part| part.len() == found.len()),
        StringMatch::Present => true,
    }
}
