//! Opening a stream to a request's endpoint.

use super::answer::Failure;
use super::record::Record;
use super::{Dialed, Settled, Upstreams};
use http::StatusCode;
use std::sync::Arc;

/// Opens a stream to the record's target, or to the next one while nothing has been sent.
///
/// # Errors
/// That of the last endpoint tried.
pub(super) async fn dial<U: Upstreams>(record: &mut Record<U>) -> Result<(Dialed<U::Io, U::Handle>, U::Key), Failure> {
    let relay = Arc::clone(&record.relay);
    let mut tried = Vec::new();
    loop {
        let Some(target) = record.target.clone() else { return Err(unrouted()) };
        let error = match relay.upstreams.dial(&target).await {
            Ok(dialed) => return Ok((dialed, relay.upstreams.key(&target))),
            Err(error) => error,
        };
        if record.alone || !error.retriable {
            return Err(error.into());
        }
        tried.push(target);
        // The last one's failure is settled with the attempt.
        let Some(next) = relay.upstreams.another(&tried) else { return Err(error.into()) };
        record.settle(Settled::Unreachable);
        record.target = Some(next);
        record.outcome.attempts += 1;
    }
}

/// The answer to a request that has no target.
pub(super) fn unrouted() -> Failure {
    Failure::last(StatusCode::NOT_FOUND, "NR", "no route")
}
