//! Whether one condition takes everything that another one takes.
//!
//! `true` is certain. `false` may be an overlap that is hard to see, such as of two different patterns.

use crate::model::{HttpMatch, Labels, StringMatch, TcpMatch, TlsMatch};
use crate::route::host;

/// Whether `wide` takes every request that `narrow` takes.
pub(super) fn http(wide: &HttpMatch, narrow: &HttpMatch) -> bool {
    uri(wide, narrow)
        && optional(wide.scheme.as_ref(), narrow.scheme.as_ref())
        && optional(wide.method.as_ref(), narrow.method.as_ref())
        && optional(wide.authority.as_ref(), narrow.authority.as_ref())
        && named(&wide.headers, &narrow.headers, text)
        && named(&wide.without_headers, &narrow.without_headers, |wide, narrow| text(narrow, wide))
        && named(&wide.query_params, &narrow.query_params, text)
        && source(wide.port, narrow.port, &wide.source_labels, &narrow.source_labels)
        && (wide.source_namespace.is_none() || wide.source_namespace == narrow.source_namespace)
}

/// Whether `wide` takes every connection that `narrow` takes.
pub(super) fn tcp(wide: &TcpMatch, narrow: &TcpMatch) -> bool {
    let subnets = &wide.destination_subnets;
    let inside = |net: &ipnet::IpNet| subnets.iter().any(|wide| wide.contains(net));
    let narrowed = &narrow.destination_subnets;
    (subnets.is_empty() || (!narrowed.is_empty() && narrowed.iter().all(inside)))
        && source(wide.port, narrow.port, &wide.source_labels, &narrow.source_labels)
        && (wide.source_namespace.is_none() || wide.source_namespace == narrow.source_namespace)
}

/// Whether `wide` takes every connection that `narrow` takes.
pub(super) fn tls(wide: &TlsMatch, narrow: &TlsMatch) -> bool {
    let covered = |name: &crate::vocab::Hostname| {
        wide.sni_hosts.iter().any(|wide| wide == name || host::covers(wide.as_str(), name.as_str()))
    };
    narrow.sni_hosts.iter().all(covered) && tcp(&wide.connection, &narrow.connection)
}

fn source(wide: Option<u16>, narrow: Option<u16>, wide_labels: &Labels, narrow_labels: &Labels) -> bool {
    (wide.is_none() || wide == narrow) && wide_labels.iter().all(|(key, value)| narrow_labels.get(key) == Some(value))
}

fn named<N: PartialEq>(
    wide: &[(N, StringMatch)],
    narrow: &[(N, StringMatch)],
    covers: impl Fn(&StringMatch, &StringMatch) -> bool,
) -> bool {
    wide.iter().all(|(name, wide)| narrow.iter().any(|(other, narrow)| name == other && covers(wide, narrow)))
}

fn optional(wide: Option<&StringMatch>, narrow: Option<&StringMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => text(wide, narrow),
    }
}

/// Every path begins with a slash.
fn uri(wide: &HttpMatch, narrow: &HttpMatch) -> bool {
    let root = |uri: &StringMatch| match uri {
        StringMatch::Prefix(prefix) => matches!(&**prefix, "" | "/"),
        StringMatch::PathPrefix(prefix) => prefix.is_empty(),
        StringMatch::Present => true,
        StringMatch::Exact(_) | StringMatch::Regex(_) => false,
    };
    let Some(uri) = wide.uri.as_ref().filter(|uri| !root(uri)) else {
        return true;
    };
    let Some(other) = &narrow.uri else {
        return false;
    };
    match (wide.ignore_uri_case, narrow.ignore_uri_case) {
        (true, _) => text(&lower(uri), &lower(other)),
        (false, false) => text(uri, other),
        (false, true) => false,
    }
}

fn lower(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_ascii_lowercase().into()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_ascii_lowercase().into()),
        StringMatch::PathPrefix(text) => StringMatch::PathPrefix(text.to_ascii_lowercase().into()),
        other => other.clone(),
    }
}

fn text(wide: &StringMatch, narrow: &StringMatch) -> bool {
    use StringMatch::{Exact, PathPrefix, Prefix, Present, Regex};
    match (wide, narrow) {
        (Present, _) => true,
        (Prefix(wide), Exact(narrow) | Prefix(narrow)) => narrow.starts_with(&**wide),
        (Prefix(wide), PathPrefix(narrow)) => narrow.starts_with(&**wide),
        (PathPrefix(wide), Exact(narrow) | PathPrefix(narrow)) => below(wide, narrow),
        (PathPrefix(wide), Prefix(narrow)) => narrow.starts_with(&format!("{wide}/")),
        (Regex(wide), Exact(narrow)) => wide.is_match(narrow),
        (wide, narrow) => wide == narrow,
    }
}

fn below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
