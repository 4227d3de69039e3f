//! Whether a failed attempt is worth another one, as Envoy means the words of `retryOn`.

use super::answer::GRPC_STATUS;
use crate::balance::Reach;
use crate::model::http_rule::{Retry, RetryOn};
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
        Attempt::TimedOut => unanswered || on.timed_out,
        Attempt::Answered { status, headers } => answered(on, status, headers),
    }
}

/// Whether an answer can be worth another attempt at all. `marked`: it has a field that [`worth`] knows by name.
pub fn may_be_worth(on: &RetryOn, status: StatusCode, marked: bool) -> bool {
    marked || !on.headers.is_empty() || answered(on, status, &HeaderMap::new())
}

/// Where the attempt after so many others looks for an endpoint, first to last: whether only among those that were not
/// tried, and how far. With `retryRemoteLocalities` the second retry leaves the localities of those before it (Envoy's
/// `previous_priorities`, as Istio sets it); without, retries stay where a first attempt would go.
pub fn reaches(retry: &Retry, attempts: usize) -> &'static [(bool, Reach)] {
    match (retry.remote_localities && attempts >= 2, retry.other_host) {
        (true, true) => &[(true, Reach::Elsewhere), (true, Reach::All), (false, Reach::All)],
        (true, false) => &[(true, Reach::Elsewhere), (false, Reach::All)],
        (false, true) => &[(true, Reach::Near), (false, Reach::Near), (false, Reach::All)],
        (false, false) => &[(false, Reach::Near), (false, Reach::All)],
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The attempts that a word makes worth another one.
    fn worthy(on: RetryOn) -> Vec<&'static str> {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        let none = headers(&[]);
        let limited = headers(&[("x-envoy-ratelimited", "true")]);
        let (unavailable, cancelled) = (headers(&[("grpc-status", "14")]), headers(&[("grpc-status", "1")]));
        let marked = headers(&[("x-retry", "")]);
        let answered =
            |status: u16, headers| Attempt::Answered { status: StatusCode::from_u16(status).unwrap(), headers };
        [
            ("connect", Attempt::ConnectFailure),
            ("early", Attempt::Reset { head_sent: false }),
            ("late", Attempt::Reset { head_sent: true }),
            ("refused", Attempt::RefusedStream),
            ("slow", Attempt::TimedOut),
            ("200", answered(200, &none)),
            ("409", answered(409, &none)),
            ("429", answered(429, &none)),
            ("500", answered(500, &none)),
            ("503", answered(503, &none)),
            ("limited", answered(503, &limited)),
            ("unavailable", answered(200, &unavailable)),
            ("cancelled", answered(200, &cancelled)),
            ("marked", answered(200, &marked)),
        ]
        .into_iter()
        .filter(|(_, attempt)| worth(&on, attempt))
        .map(|(name, _)| name)
        .collect()
    }

    #[test]
    fn each_word_means_what_envoy_means_by_it() {
        let on = RetryOn::default;
        let unanswered = ["connect", "early", "late", "refused", "slow"];
        assert_eq!(worthy(on()), Vec::<&str>::new());
        assert_eq!(worthy(RetryOn { server_error: true, ..on() }), [&unanswered[..], &["500", "503"]].concat());
        assert_eq!(worthy(RetryOn { gateway_error: true, ..on() }), [&unanswered[..], &["503"]].concat());
        assert_eq!(worthy(RetryOn { reset: true, ..on() }), unanswered);
        assert_eq!(worthy(RetryOn { reset_before_request: true, ..on() }), ["connect", "early"]);
        assert_eq!(worthy(RetryOn { connect_failure: true, ..on() }), ["connect"]);
        assert_eq!(worthy(RetryOn { refused_stream: true, ..on() }), ["refused"]);
        assert_eq!(worthy(RetryOn { conflict: true, ..on() }), ["409"]);
        assert_eq!(worthy(RetryOn { rate_limited: true, ..on() }), ["limited"]);
        let statuses = vec![StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR];
        assert_eq!(worthy(RetryOn { statuses, ..on() }), ["429", "500"]);
        assert_eq!(worthy(RetryOn { headers: vec!["x-retry".parse().unwrap()], ..on() }), ["marked"]);
        assert_eq!(worthy(RetryOn { grpc: vec![14, 4], ..on() }), ["unavailable"]);
        assert_eq!(worthy(RetryOn { grpc: vec![1], ..on() }), ["cancelled"]);
    }
}
