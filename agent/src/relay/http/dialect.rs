//! An application that is spoken to in the other version of HTTP than the client speaks.

use http::header::{CONNECTION, COOKIE, HOST, TE};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri, Version};

/// What an application is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speaks {
    /// The client's version.
    #[default]
    AsClient,
    /// HTTP/1.1, also for HTTP/2 clients.
    First,
    /// HTTP/2, also for HTTP/1.1 clients; not what leaves HTTP.
    Second,
}

/// Makes a request what its application is spoken to in. It has left its hop, and stays in HTTP.
pub(super) fn adopt(head: &mut Parts, speaks: Speaks) {
    match (head.version == Version::HTTP_2, speaks) {
        (false, Speaks::Second) => to_second(head),
        (true, Speaks::First) => to_first(head),
        (true, _) => name_authority(head),
        (false, _) => {}
    }
}

/// Makes an HTTP/1.1 request, without what belongs to its hop, one of HTTP/2.
fn to_second(head: &mut Parts) {
    head.version = Version::HTTP_2;
    head.headers.remove(CONNECTION);
    name_authority(head);
    head.headers.remove(HOST);
}

/// Makes an HTTP/2 request one of HTTP/1.1.
fn to_first(head: &mut Parts) {
    head.version = Version::HTTP_11;
    if let Some(authority) = head.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok()) {
        head.headers.insert(HOST, authority);
    }
    let path = head.uri.path_and_query().cloned();
    head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    if head.headers.contains_key(TE) {
        head.headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    join_cookies(head);
}

/// HTTP/2 may carry a cookie's parts in fields of their own (RFC 9113 section 8.2.3).
fn join_cookies(head: &mut Parts) {
    let parts: Vec<_> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        head.headers.insert(COOKIE, joined);
    }
}

/// A client may name the authority in `Host` alone (RFC 9113 section 8.3.1); hyper sends what the URI says.
fn name_authority(head: &mut Parts) {
    if head.uri.authority().is_some() {
        return;
    }
    let named = head.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = head.uri.clone().into_parts();
    parts.authority = named;
    parts.scheme.get_or_insert(Scheme::HTTP);
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}
