//! When a failed attempt is repeated.

use http::{HeaderName, StatusCode};
use std::time::Duration;

/// When and how often a failed attempt is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Repetitions after the first attempt.
    pub attempts: u32,
    /// How long one attempt may take; none: as long as the whole.
    pub per_try: Option<Duration>,
    /// What is repeated.
    pub on: RetryOn,
    /// The first pause; it doubles, up to ten times itself, and is jittered. None: 25 ms, as in Envoy.
    pub backoff: Option<Duration>,
    /// Whether another endpoint is preferred.
    pub other_host: bool,
    /// Whether endpoints of other localities may be used for a repetition.
    pub remote_localities: bool,
}

impl Retry {
    /// Istio's, where a rule says nothing: twice, elsewhere, what cannot have been processed.
    pub fn usual() -> Self {
        Self {
            attempts: 2,
            per_try: None,
            on: RetryOn::usual(),
            backoff: None,
            other_host: true,
            remote_localities: false,
        }
    }
}

/// What counts as a failure that is worth another attempt (Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent words of a list")]
pub struct RetryOn {
    /// `5xx`: any of them, or no answer at all.
    pub server_error: bool,
    /// `gateway-error`: 502, 503, 504.
    pub gateway_error: bool,
    /// `reset`: no answer: disconnected, reset, or its time was up.
    pub reset: bool,
    /// `reset-before-request`: so, before the request's head was sent.
    pub reset_before_request: bool,
    /// `connect-failure`: no connection to the endpoint.
    pub connect_failure: bool,
    /// `retriable-4xx`: 409.
    pub conflict: bool,
    /// `refused-stream`: HTTP/2's REFUSED_STREAM.
    pub refused_stream: bool,
    /// No answer in the time of one attempt (of the Gateway API's `retry`; Istio has no word for it alone).
    pub timed_out: bool,
    /// `http3-post-connect-failure` and other words that cannot occur here are accepted and stand for nothing.
    /// `envoy-ratelimited`: an answer with `x-envoy-ratelimited`.
    pub rate_limited: bool,
    /// `retriable-headers`: an answer with one of these.
    pub headers: Vec<HeaderName>,
    /// `retriable-status-codes`, written as numbers among the words.
    pub statuses: Vec<StatusCode>,
    /// gRPC codes: `cancelled` (1), `unknown` (2), `deadline-exceeded` (4), `resource-exhausted` (8), `internal` (13),
    /// `unavailable` (14).
    pub grpc: Vec<u8>,
}

impl RetryOn {
    /// Istio's, where a rule does not say: connect-failure, refused-stream, unavailable and cancelled. It had 503 among
    /// them before 1.24, which repeats requests that may have been processed.
    pub fn usual() -> Self {
        Self { connect_failure: true, refused_stream: true, grpc: vec![1, 14], ..Self::default() }
    }
}
