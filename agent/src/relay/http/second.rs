//! Carrying a request over HTTP/2.

use super::Upstreams;
use super::answer::{Failure, stream_error};
use super::body::RequestBody;
use super::dial::dial;
use super::first::spare;
use super::record::Record;
use super::session::Ticket;
use http::{Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;

/// Sessions that may turn out to be gone before a request is given up.
const ATTEMPTS: usize = 3;

/// Sends the request and returns the head of its answer, and its place in the session that will deliver the rest.
///
/// # Errors
/// No endpoint could be reached, or the stream broke and the request must not be repeated.
pub(super) async fn carry<U: Upstreams>(
    record: &mut Record<U>,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Ticket<U>), Failure> {
    let mut attempt = 1;
    loop {
        let (ticket, reused) = Box::pin(place(record)).await?;
        record.handle = Some(ticket.handle().clone());
        let spare = if reused && attempt == 1 { spare(&request) } else { None };
        let mut error = match ticket.sender().try_send_request(request).await {
            Ok(response) => return Ok((response, ticket)),
            Err(error) => error,
        };
        let lost = lost(error.error());
        if lost {
            ticket.condemn();
        }
        let unsent = error.take_message();
        let head_sent = unsent.is_none();
        let unsent = unsent.filter(|_| reused && attempt < ATTEMPTS);
        let again = unsent.or(spare.filter(|_| lost));
        request = again.ok_or_else(|| record.failure(error.error(), head_sent))?;
        attempt += 1;
    }
}

/// A place in an open session or in a new one, and whether it was open before.
async fn place<U: Upstreams>(record: &mut Record<U>) -> Result<(Ticket<U>, bool), Failure> {
    if let Some(key) = record.key() {
        let sessions = record.relay.pool.sessions(&key);
        if let Some(ticket) = sessions.take() {
            return Ok((ticket, true));
        }
        let _only_me = sessions.dialing.lock().await;
        if let Some(ticket) = sessions.take() {
            return Ok((ticket, true));
        }
        return Ok((open(record).await?, false));
    }
    Ok((open(record).await?, false))
}

async fn open<U: Upstreams>(record: &mut Record<U>) -> Result<Ticket<U>, Failure> {
    let relay = Arc::clone(&record.relay);
    let (dialed, key) = dial(record).await?;
    let header_bytes = u32::try_from(relay.limits.header_bytes).unwrap_or(u32::MAX);
    let opened = relay.pool.sessions(&key).open(dialed, header_bytes).await;
    opened.map_err(|error| Failure::from(&error))
}

/// The session ended, or says that the application has not seen the request (RFC 9113 section 8.7).
fn lost(error: &hyper::Error) -> bool {
    let Some(error) = stream_error(error) else { return error.is_canceled() || error.is_closed() };
    error.is_go_away() || error.is_io() || error.reason() == Some(h2::Reason::REFUSED_STREAM)
}
