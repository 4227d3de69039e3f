//! Whether a rule takes a request or a connection.

use super::host::covers;
use super::query;
use crate::model::{HttpMatch, Labels, StringMatch, TcpMatch, TcpRule, TlsRule, Workload};
use crate::vocab::{Namespace, OrigDst};
use http::header::{HOST, HeaderName};
use http::request::Parts;
use std::str;

/// A request with all that rules may ask about it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who sent it.
    pub source: &'a Workload,
    /// The service port that the client used.
    pub port: u16,
    /// Its head.
    pub request: &'a Parts,
}

/// Whether all conditions of a match hold.
pub fn http_match(one: &HttpMatch, asked: &Asked<'_>) -> bool {
    let request = asked.request;
    let uri = |wanted: &StringMatch| text(wanted, request.uri.path(), one.ignore_uri_case);
    let method = |wanted: &StringMatch| text(wanted, request.method.as_str(), false);
    let host = |wanted: &StringMatch| authority(request).is_some_and(|found| text(wanted, found, false));
    let plain = |wanted: &StringMatch| text(wanted, scheme(request), false);
    one.port.is_none_or(|wanted| wanted == asked.port)
        && one.uri.as_ref().is_none_or(uri)
        && one.method.as_ref().is_none_or(method)
        && from(asked.source, &one.source_labels, one.source_namespace.as_ref())
        && one.authority.as_ref().is_none_or(host)
        && one.scheme.as_ref().is_none_or(plain)
        && one.headers.iter().all(|(name, wanted)| header(request, name, wanted))
        && !one.without_headers.iter().any(|(name, wanted)| header(request, name, wanted))
        && one.query_params.iter().all(|(name, wanted)| parameter(request, name, wanted))
}

/// Whether a rule takes a connection to this address.
pub fn tcp_rule(rule: &TcpRule, source: &Workload, dst: OrigDst) -> bool {
    rule.matches.is_empty() || rule.matches.iter().any(|one| tcp_match(one, source, dst))
}

/// Whether a rule takes a TLS connection to this address whose client asks for this name.
pub fn tls_rule(rule: &TlsRule, source: &Workload, dst: OrigDst, sni: Option<&str>) -> bool {
    let asked = sni.map(str::to_ascii_lowercase);
    let named = |pattern: &str| pattern == "*" || asked.as_ref().is_some_and(|name| covers(pattern, name));
    rule.matches.iter().any(|one| {
        one.sni_hosts.iter().any(|pattern| named(pattern.as_str())) && tcp_match(&one.connection, source, dst)
    })
}

/// The authority that the client asked for: `:authority`, an absolute target's, or `Host`.
pub fn authority(request: &Parts) -> Option<&str> {
    let target = request.uri.authority().map(http::uri::Authority::as_str);
    target.or_else(|| request.headers.get(HOST).and_then(|value| str::from_utf8(value.as_bytes()).ok()))
}

/// The scheme that the client said. Where it said none it is `http`: what is encrypted cannot be read here.
pub fn scheme(request: &Parts) -> &str {
    request.uri.scheme_str().unwrap_or("http")
}

/// Whether a string is what is wanted.
pub fn text(wanted: &StringMatch, found: &str, ignore_case: bool) -> bool {
    match wanted {
        StringMatch::Exact(exact) if ignore_case => found.eq_ignore_ascii_case(exact),
        StringMatch::Exact(exact) => found == &**exact,
        StringMatch::Prefix(prefix) => starts(found, prefix, ignore_case),
        StringMatch::PathPrefix(prefix) => {
            starts(found, prefix, ignore_case) && matches!(found.as_bytes().get(prefix.len()), None | Some(b'/'))
        }
        // Not `is_match`: a pattern that was not anchored must take less than its author wanted, never more.
        StringMatch::Regex(regex) => regex.find(found).is_some_and(|part| part.len() == found.len()),
        StringMatch::Present => true,
    }
}

fn starts(found: &str, prefix: &str, ignore_case: bool) -> bool {
    if !ignore_case {
        return found.starts_with(prefix);
    }
    found.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Whether all conditions on a connection hold.
pub fn tcp_match(one: &TcpMatch, source: &Workload, dst: OrigDst) -> bool {
    let subnets = &one.destination_subnets;
    one.port.is_none_or(|wanted| wanted == dst.port())
        && (subnets.is_empty() || subnets.iter().any(|subnet| subnet.contains(&dst.ip())))
        && from(source, &one.source_labels, one.source_namespace.as_ref())
}

fn from(source: &Workload, labels: &Labels, namespace: Option<&Namespace>) -> bool {
    namespace.is_none_or(|wanted| *wanted == source.id.pod.namespace)
        && labels.iter().all(|(key, value)| source.label(key) == Some(value))
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

/// Envoy compares what was sent, other gateways what it stands for: either may be what the author wrote down.
fn parameter(request: &Parts, name: &str, wanted: &StringMatch) -> bool {
    let Some(sent) = request.uri.query().and_then(|query| query::parameter(query, name)) else { return false };
    text(wanted, sent, false) || query::decoded(sent).is_some_and(|value| text(wanted, &value, false))
}
