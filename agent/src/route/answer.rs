//! Answers that rules give by themselves.

use super::Refusal;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use std::sync::Arc;

/// An answer that is made here, complete: a gRPC client's has status 200 and the call's status among its headers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The gRPC status that is in the headers.
    pub grpc_status: Option<u8>,
    /// Envoy's response flag, `-` where nothing went wrong.
    pub flag: &'static str,
    /// The name of the rule that made it.
    pub rule: Option<Arc<str>>,
    /// What is to be said in the log beside it.
    pub told: Option<Arc<str>>,
}

impl Answer {
    /// An answer to this request with a text; a gRPC client gets the status that the HTTP status maps to, and the text
    /// as its message.
    pub fn new(request: &Parts, status: StatusCode, body: Bytes) -> Self {
        if is_grpc(request) {
            return Self::grpc(grpc_status(status), &body);
        }
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Self { status, headers, body, grpc_status: None, flag: "-", rule: None, told: None }
    }

    /// An answer without a body ("trailers-only") that ends a gRPC call.
    pub fn grpc(code: u8, message: &[u8]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
        let message = percent_encode(message, UNFIT).to_string();
        if let Some(message) = HeaderValue::try_from(message).ok().filter(|message| !message.is_empty()) {
            headers.insert(GRPC_MESSAGE, message);
        }
        let status = StatusCode::OK;
        Self { status, headers, body: Bytes::new(), grpc_status: Some(code), flag: "-", rule: None, told: None }
    }

    /// Why a request goes nowhere, as an answer.
    pub fn refusal(request: &Parts, refusal: &Refusal) -> Self {
        let status = refusal_status(request, refusal);
        Self { flag: refusal.flag(), ..Self::new(request, status, refusal.to_string().into()) }
    }
}

/// The status of a request that goes nowhere. GRPCRoute has UNAVAILABLE where HTTPRoute has 500.
pub fn refusal_status(request: &Parts, refusal: &Refusal) -> StatusCode {
    match matches!(refusal, Refusal::Broken { .. }) && is_grpc(request) {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => refusal.status(),
    }
}

/// Whether the client makes a gRPC call.
pub fn is_grpc(request: &Parts) -> bool {
    let kind = request.headers.get(CONTENT_TYPE).filter(|_| request.version == Version::HTTP_2);
    let kind = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    // `application/grpc-web` is something else.
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What a gRPC client is told in place of an HTTP status (doc/http-grpc-status-mapping.md of gRPC).
pub fn grpc_status(status: StatusCode) -> u8 {
    match status.as_u16() {
        200..=299 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Where a gRPC call's status is.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What a gRPC client is told beside it.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What gRPC wants escaped in a message: all that is not visible ASCII or a space, and the sign that escapes.
const UNFIT: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    fn call(kind: &str, version: Version) -> Parts {
        http::Request::builder().version(version).header(CONTENT_TYPE, kind).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_grpc_client_reads_the_status_from_the_headers() {
        let answer = Answer::new(&call("application/grpc+proto", Version::HTTP_2), StatusCode::NOT_FOUND, "é\n".into());
        assert_eq!((answer.status, answer.grpc_status), (StatusCode::OK, Some(12)));
        assert_eq!(answer.headers["grpc-status"], "12");
        assert_eq!(answer.headers["grpc-message"], "%C3%A9%0A");
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert!(answer.body.is_empty());
    }

    #[test]
    fn other_clients_get_the_status_and_the_text() {
        for request in [
            call("application/grpc", Version::HTTP_11),
            call("application/grpc-web", Version::HTTP_2),
            call("text/plain", Version::HTTP_2),
        ] {
            let answer = Answer::new(&request, StatusCode::NOT_FOUND, "no".into());
            assert_eq!((answer.status, answer.grpc_status), (StatusCode::NOT_FOUND, None));
            assert_eq!(answer.headers["content-type"], "text/plain");
            assert_eq!(&*answer.body, b"no");
        }
    }
}
