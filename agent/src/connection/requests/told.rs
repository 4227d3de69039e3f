//! What telemetry and the destination's agent are told of a request.

use crate::relay::http::{self, RequestOutcome};
use crate::telemetry::{Protocol, RequestRecord};
use crate::tunnel::underpass::Report;

/// For this agent's metrics and log.
pub fn request(outcome: &RequestOutcome) -> RequestRecord {
    RequestRecord {
        method: outcome.method.clone(),
        uri: outcome.uri.clone(),
        authority: outcome.host.clone().or_else(|| outcome.authority().parse().ok()),
        user_agent: outcome.user_agent.clone(),
        request_id: outcome.request_id.clone(),
        status: outcome.status,
        grpc_status: outcome.grpc_status,
        protocol: match outcome.protocol {
            http::Protocol::Http1 => Protocol::Http,
            http::Protocol::Http2 => Protocol::Http2,
            http::Protocol::Grpc => Protocol::Grpc,
        },
        request_bytes: outcome.request_bytes,
        response_bytes: outcome.response_bytes,
        duration: outcome.duration,
        flag: outcome.flag,
        attempts: outcome.attempts,
        rule: outcome.rule.clone(),
        policies: outcome.told.clone(),
        error: None,
    }
}

/// For the destination's agent.
pub fn report(outcome: &RequestOutcome) -> Report<'_> {
    Report {
        status: outcome.status,
        grpc_status: outcome.grpc_status,
        protocol: outcome.protocol.as_str().into(),
        method: outcome.method.as_str().into(),
        path: outcome.path().into(),
        authority: outcome.authority().into(),
        flag: outcome.flag.into(),
        request_bytes: outcome.request_bytes,
        response_bytes: outcome.response_bytes,
        duration_us: u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
    }
}
