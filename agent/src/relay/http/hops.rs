//! Header fields that belong to one hop (RFC 9110 section 7.6.1), taken off HTTP/1 messages.
//!
//! `Transfer-Encoding` stays: hyper frames the message by it and takes it off where it is not allowed.

use http::header::{CONNECTION, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes this hop's fields off a request. Returns whether the client asks to leave HTTP/1 on this connection.
pub(super) fn leave_request(request: &mut Parts) -> bool {
    let headers = &mut request.headers;
    // An application that took `h2c` would leave routing behind; without the field it answers in HTTP/1.1, which
    // RFC 9110 section 7.8 always allows.
    let upgrade = headers.get(UPGRADE).filter(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c")).cloned();
    let upgrade = upgrade.filter(|_| lists(headers, CONNECTION, "upgrade"));
    let trailers = headers.contains_key(TE) && lists(headers, TE, "trailers");
    leave(headers);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    let Some(to) = upgrade else { return request.method == Method::CONNECT };
    headers.insert(UPGRADE, to);
    headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
    true
}

/// Takes the upstream hop's fields off a response; `switched` keeps what tells the client that it switches.
pub(super) fn leave_response(headers: &mut HeaderMap, switched: bool) {
    let upgrade = headers.get(UPGRADE).filter(|_| switched).cloned();
    leave(headers);
    if let Some(to) = upgrade {
        headers.insert(UPGRADE, to);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

fn leave(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        leave_listed(headers);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(UPGRADE);
}

fn leave_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    let names = listed.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    for name in names.map(str::trim).filter(|name| !frames(name)) {
        headers.remove(name);
    }
}

/// A client that lists these must not change how the next hop reads the message, nor where it goes.
fn frames(name: &str) -> bool {
    ["content-length", "transfer-encoding", "host", "te"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

fn lists(headers: &HeaderMap, field: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(field).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}
