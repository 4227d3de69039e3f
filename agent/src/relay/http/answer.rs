//! Answers that we make ourselves, in the words that Istio's users know.

use super::{DialError, Protocol, Refused, Settled};
use crate::route::answer::{GRPC_MESSAGE, GRPC_STATUS, grpc_status};
use crate::route::retry::Attempt;
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderValue, StatusCode};
use std::borrow::Cow;

/// Why a request got no answer from the application.
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) flag: &'static str,
    pub(super) reason: Cow<'static, str>,
    pub(super) kind: Kind,
}

/// What a failure means for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another attempt would end the same way.
    Final,
    /// No connection to the endpoint.
    Unreachable,
    /// It broke off.
    Reset { head_sent: bool },
    /// The endpoint has not seen it.
    RefusedStream,
    /// It took too long.
    TimedOut,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self { status: refused.status, flag: refused.flag, reason: refused.reason, kind: Kind::Final }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let kind = if error.retriable { Kind::Unreachable } else { Kind::Final };
        Self { status: StatusCode::SERVICE_UNAVAILABLE, flag: error.flag, reason: error.reason, kind }
    }
}

impl From<&hyper::Error> for Failure {
    /// An upstream connection that broke before it answered, or answered what is not HTTP.
    fn from(error: &hyper::Error) -> Self {
        if error.is_parse() {
            return Self::malformed();
        }
        let Some(of_stream) = stream_error(error).filter(|error| error.is_reset()) else {
            return Self::disconnected(true);
        };
        let refused = of_stream.reason() == Some(h2::Reason::REFUSED_STREAM);
        let kind = if refused { Kind::RefusedStream } else { Kind::Reset { head_sent: true } };
        let reason = "upstream reset the stream before headers".into();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, flag: "UR", reason, kind }
    }
}

impl Failure {
    /// The application answered what is not HTTP.
    pub(super) fn malformed() -> Self {
        let (status, reason) = (StatusCode::BAD_GATEWAY, "upstream protocol error".into());
        Self { status, flag: "UPE", reason, kind: Kind::Reset { head_sent: true } }
    }

    /// The connection broke before there was an answer.
    pub(super) fn disconnected(head_sent: bool) -> Self {
        let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, "upstream disconnect/reset before headers".into());
        Self { status, flag: "UC", reason, kind: Kind::Reset { head_sent } }
    }

    /// An application that switches protocols without being asked is broken (RFC 9110 section 7.8).
    pub(super) fn unasked() -> Self {
        Self::last(StatusCode::BAD_GATEWAY, "UPE", "upstream switched protocols unasked")
    }

    /// A request whose body ended before its end. The client is most likely gone and does not read this.
    pub(super) fn broken_off() -> Self {
        Self::last(StatusCode::BAD_REQUEST, "DC", "request body broke off")
    }

    /// The rule's time, or that of one attempt, is up.
    pub(super) fn timed_out() -> Self {
        let (status, reason) = (StatusCode::GATEWAY_TIMEOUT, "upstream request timeout".into());
        Self { status, flag: "UT", reason, kind: Kind::TimedOut }
    }

    /// One that no other attempt would mend.
    pub(super) fn last(status: StatusCode, flag: &'static str, reason: &'static str) -> Self {
        Self { status, flag, reason: reason.into(), kind: Kind::Final }
    }

    /// What the endpoint did; none where it is not to blame.
    pub(super) fn settled(&self) -> Option<Settled> {
        match self.kind {
            Kind::Final => None,
            Kind::Unreachable => Some(Settled::Unreachable),
            Kind::Reset { .. } | Kind::RefusedStream => Some(Settled::Reset),
            Kind::TimedOut => Some(Settled::TimedOut),
        }
    }

    /// The same for the words of `retryOn`.
    pub(super) fn attempt(&self) -> Option<Attempt<'static>> {
        match self.kind {
            Kind::Final => None,
            Kind::Unreachable => Some(Attempt::ConnectFailure),
            Kind::Reset { head_sent } => Some(Attempt::Reset { head_sent }),
            Kind::RefusedStream => Some(Attempt::RefusedStream),
            Kind::TimedOut => Some(Attempt::TimedOut),
        }
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
    let code = u16::from(grpc_status(failure.status));
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(GRPC_STATUS, HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&failure.reason) {
        head.headers.insert(GRPC_MESSAGE, message);
    }
    (head, Cow::Borrowed(""), Some(code))
}
