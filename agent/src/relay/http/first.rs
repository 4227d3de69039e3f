//! Carrying a request over HTTP/1.

use super::Upstreams;
use super::answer::Failure;
use super::body::{Meter, RequestBody};
use super::dial::dial;
use super::line::Line;
use super::record::Record;
use http::Request;
use http::header::EXPECT;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

type Response = http::Response<Incoming>;
type Unsent = TrySendError<Request<RequestBody>>;

/// An application that knows nothing of `Expect` waits for a body that is held back: RFC 9110 section 10.1.1 has
/// clients wait no longer than they see fit; curl's second is taken.
const CONTINUE: Duration = Duration::from_secs(1);

/// Sends the request and returns the head of its answer, and the connection that will deliver the rest.
///
/// # Errors
/// No endpoint could be reached, or the connection broke and the request must not be repeated.
pub(super) async fn carry<U: Upstreams>(
    record: &mut Record<U>,
    mut request: Request<RequestBody>,
) -> Result<(Response, Box<Line<U>>), Failure> {
    enter(record).await?;
    let mut may_reuse = true;
    loop {
        let pooled = if may_reuse { record.key().and_then(|key| record.relay.pool.take(&key)) } else { None };
        let reused = pooled.is_some();
        let mut line = match pooled {
            Some(line) => line,
            None => Box::pin(connect(record)).await?,
        };
        line.driven(record.relay.limits.header_bytes).await.map_err(|error| Failure::from(&error))?;
        record.handle = Some(line.handle.clone());
        let spare = if reused { spare(&request) } else { None };
        let mut error = match send(&mut line, request).await {
            Ok(response) => return Ok((response, line)),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let head_sent = unsent.is_none();
        // A connection closed while the request was on its way (RFC 9112 section 9.3.1): once, and only if the
        // application cannot tell that it got it twice.
        let spare = spare.filter(|_| line.is_silent()).inspect(|_| may_reuse = false);
        let again = unsent.filter(|_| reused).or(spare);
        request = again.ok_or_else(|| record.failure(error.error(), head_sent))?;
    }
}

pub(super) async fn enter<U: Upstreams>(record: &mut Record<U>) -> Result<(), Failure> {
    record.place = None;
    if let Some(target) = &record.target {
        record.place = record.relay.upstreams.enter(target).await?;
    }
    Ok(())
}

async fn connect<U: Upstreams>(record: &mut Record<U>) -> Result<Box<Line<U>>, Failure> {
    let (dialed, key) = dial(record).await?;
    Ok(Box::new(Line::new(dialed, key)))
}

async fn send<U: Upstreams>(line: &mut Line<U>, mut request: Request<RequestBody>) -> Result<Response, Unsent> {
    let Some(meter) = awaited(&request) else { return line.send(request).await };
    meter.hold();
    let asked = Arc::clone(&meter);
    hyper::ext::on_informational(&mut request, move |answer| {
        if answer.status() == http::StatusCode::CONTINUE {
            asked.release();
        }
    });
    let mut sending = pin!(line.send(request));
    let sent = tokio::select! {
        biased;
        sent = &mut sending => sent,
        () = sleep(CONTINUE) => {
            meter.release();
            sending.await
        }
    };
    // A refusal ends it; after any other answer the application still takes the body.
    if sent.as_ref().is_ok_and(|answer| answer.status().as_u16() < 400) {
        meter.release();
    }
    sent
}

/// The body's meter, if the client waits to be asked for the body.
fn awaited(request: &Request<RequestBody>) -> Option<Arc<Meter>> {
    let expect = request.headers().get(EXPECT)?;
    let waits = request.version() == http::Version::HTTP_11 && expect.as_bytes().eq_ignore_ascii_case(b"100-continue");
    request.body().meter().filter(|_| waits).cloned()
}

/// A copy to send again, of a request that may be.
pub(super) fn spare(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::none());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
