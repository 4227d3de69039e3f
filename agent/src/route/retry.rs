//! Whether a failed attempt is worth another one, as Envoy means the words of `retryOn`.

use crate::model::http_rule::RetryOn;
use http::{HeaderMap, HeaderName, StatusCode};

/// What became of one attempt.
#[derive(Clone, Copy, Debug)]
pub enum Attempt<'a> {
    /// There was no connection to the endpoint.
    ConnectFailure,
    /// There was no answer: the connection or stream broke off.
    Reset {
        /// Whether the request's head had been sent.
        head_sent: bool,
    },
    /// HTTP/2's REFUSED_STREAM: the endpoint did nothing.
    RefusedStream,
    /// There was no answer in the time of one attempt.
    TimedOut,
    /// There was one. A gRPC answer without a body has its status in the headers; one in trailers comes too late.
    Answered {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: &'a HeaderMap,
    },
}

/// Whether these words make the attempt worth another one.
pub fn worth(on: &RetryOn, attempt: &Attempt<'_>) -> bool {
    // No answer becomes a 502, 503 or 504 if it is not tried again, and so is one.
    let unanswered = on.server_error || on.gateway_error || on.reset;
    match *attempt {
        Attempt::ConnectFailure => unanswered || on.reset_before_request || on.connect_failure,
        Attempt::Reset { head_sent } => unanswered || (on.reset_before_request && !head_sent),
        Attempt::RefusedStream => unanswered || on.refused_stream,
        Attempt::TimedOut => unanswered,
        Attempt::Answered { status, headers } => answered(on, status, headers),
    }
}

fn answered(on: &RetryOn, status: StatusCode, headers: &HeaderMap) -> bool {
    // Who is over a limit is not helped by more requests, whatever the status says.
    if headers.contains_key(RATE_LIMITED) {
        return on.rate_limited;
    }
    (on.server_error && status.is_server_error())
        || (on.gateway_error && matches!(status.as_u16(), 502..=504))
        || (on.conflict && status == StatusCode::CONFLICT)
        || on.statuses.contains(&status)
        || on.headers.iter().any(|name| headers.contains_key(name))
        || (!on.grpc.is_empty() && grpc_status(headers).is_some_and(|code| on.grpc.contains(&code)))
}

fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
