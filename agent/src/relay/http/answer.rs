//! Answers that we make ourselves, in the words that Istio's users know.

use super::{DialError, Protocol, Refused};
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;

/// Why a request got no answer from the application.
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) flag: &'static str,
    pub(super) reason: Cow<'static, str>,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self { status: refused.status, flag: refused.flag, reason: refused.reason }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, flag: error.flag, reason: error.reason }
    }
}

impl From<&hyper::Error> for Failure {
    /// An upstream connection that broke before it answered, or answered what is not HTTP.
    fn from(error: &hyper::Error) -> Self {
        let (status, flag, reason) = if error.is_parse() {
            (StatusCode::BAD_GATEWAY, "UPE", "upstream protocol error")
        } else if stream_error(error).is_some_and(h2::Error::is_reset) {
            (StatusCode::SERVICE_UNAVAILABLE, "UR", "upstream reset the stream before headers")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "UC", "upstream disconnect/reset before headers")
        };
        Self { status, flag, reason: reason.into() }
    }
}

impl Failure {
    /// A request whose body ended before its end. The client is most likely gone and does not read this.
    pub(super) fn broken_off() -> Self {
        Self { status: StatusCode::BAD_REQUEST, flag: "DC", reason: "request body broke off".into() }
    }
}

/// The HTTP/2 error inside of hyper's, if it is one.
pub(super) fn stream_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Head and body of the answer to a failure, and the `grpc-status` in it.
pub(super) fn answer(failure: Failure, protocol: Protocol) -> (http::response::Parts, Cow<'static, str>, Option<u16>) {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.headers.insert(SERVER, HeaderValue::from_static("underpass"));
    if protocol != Protocol::Grpc {
        head.status = failure.status;
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        return (head, failure.reason, None);
    }
    // A gRPC client reads the status of the call from the headers of an answer without a body ("trailers-only").
    let code = grpc_status(failure.status);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(GRPC_STATUS, HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&failure.reason) {
        head.headers.insert(GRPC_MESSAGE, message);
    }
    (head, Cow::Borrowed(""), Some(code))
}

/// grpc/doc/http-grpc-status-mapping.md.
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
