//! Copies of requests, sent beside them: their answers are dropped and nobody waits for them.

use super::Upstreams;
use super::attempts::once_within;
use super::body::RequestBody;
use super::deadline::Deadline;
use super::dialect;
use super::pool::CopyPlace;
use super::record::Record;
use super::response::ResponseBody;
use http::Request;
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use std::time::Duration;

/// How long a copy may take where the rule has no time limit.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends the request's copies on their way, and returns the body for the request itself.
pub(super) fn send<U: Upstreams>(record: &Record<U>, head: &Parts, body: RequestBody) -> RequestBody {
    let Some(target) = &record.target else { return body };
    let mirrors = record.relay.upstreams.mirrors(target);
    if mirrors.is_empty() {
        return body;
    }
    let kept = body.keep();
    let terms = record.relay.upstreams.terms(target);
    if let Some(kept) = kept.as_ref().filter(|_| terms.retry.is_none()) {
        kept.forget();
    }
    let lasts = terms.timeout.unwrap_or(PATIENCE);
    for mirror in mirrors {
        let mut head = copy_of(head);
        dialect::adopt(&mut head, record.relay.upstreams.speaks(&mirror));
        let mut copy = Record::of_copy(&record.relay, &head, mirror);
        let Some(place) = record.relay.pool.place_for_copy() else {
            copy.flag("UO");
            copy.close();
            continue;
        };
        let body = kept.as_ref().map_or_else(RequestBody::none, |kept| RequestBody::copy(kept.copy()));
        copy.meter = body.meter().cloned();
        copy.deadline = Some(Box::new(Deadline::new(lasts, None)));
        tokio::spawn(carry(copy, Request::from_parts(head, body), place));
    }
    RequestBody::view(kept.as_ref())
}

/// The same header block. Istio has left the authority as it is since 1.28.
fn copy_of(head: &Parts) -> Parts {
    let mut copy = head.clone();
    // Its body comes when it comes, and it has nobody to leave HTTP with.
    copy.headers.remove(EXPECT);
    copy.extensions.remove::<OnUpgrade>();
    copy
}

async fn carry<U: Upstreams>(mut record: Box<Record<U>>, request: Request<RequestBody>, place: CopyPlace<U>) {
    let mut deadline = record.deadline.take();
    match once_within(&mut record, request, deadline.as_deref_mut()).await {
        Ok((response, carrier)) => {
            let (head, incoming) = response.into_parts();
            record.outcome.status = head.status.as_u16();
            record.note_grpc(&head.headers);
            record.deadline = deadline;
            let mut body = ResponseBody::upstream(incoming, carrier, record);
            while let Some(Ok(_)) = body.frame().await {}
        }
        Err(failure) => {
            record.outcome.status = failure.status.as_u16();
            record.flag(failure.flag);
            record.close();
        }
    }
    drop(place);
}
