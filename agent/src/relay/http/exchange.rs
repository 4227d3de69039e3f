//! One request and its answer.

use super::answer::{Failure, answer};
use super::body::RequestBody;
use super::carrier::Carrier;
use super::dial::unrouted;
use super::record::{DELAYED, Record};
use super::response::ResponseBody;
use super::serve::Relay;
use super::{Protocol, Speaks, Upstreams, Verdict};
use super::{attempts, dialect, drain, hops, mirror, upgrade};
use crate::route::{self, edits};
use crate::vocab::NulInPath;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::sleep;

type Answer<U> = Response<ResponseBody<U>>;

/// Routes a request, carries it, and answers: exactly once, whatever happens.
pub(super) async fn exchange<U: Upstreams>(relay: Arc<Relay<U>>, request: Request<Incoming>) -> Answer<U> {
    let (mut head, incoming) = request.into_parts();
    if let Some(record) = relay.ruled() {
        // It is as plain as it was when it was routed: its path was normalised then.
        let _ = edits::normalise(&mut head.uri);
        return forward(record, head, incoming).await;
    }
    let mut record = Record::open(&relay, &head);
    if !has_one_host(&head) {
        return refuse_and_close(record);
    }
    match edits::normalise(&mut head.uri) {
        Ok(false) => {}
        Ok(true) => record.outcome.uri = head.uri.clone(),
        Err(NulInPath) => {
            drain::drain(&head, incoming).await;
            return refuse(record, unreadable());
        }
    }
    let ruling = match relay.upstreams.judged(&head).await {
        Ok(ruling) => ruling,
        Err(refused) => {
            drain::drain(&head, incoming).await;
            return refuse(record, refused.into());
        }
    };
    if let Some(delay) = ruling.delay {
        Box::pin(sleep(delay)).await;
        record.flag(DELAYED);
    }
    let target = match ruling.verdict {
        Verdict::Forward(target) => target,
        Verdict::Answer(answer) => {
            drain::drain(&head, incoming).await;
            return give(record, &head, answer);
        }
    };
    record.target = Some(target);
    forward(record, head, incoming).await
}

/// Carries a request to the record's target.
async fn forward<U: Upstreams>(mut record: Box<Record<U>>, mut head: Parts, incoming: Incoming) -> Answer<U> {
    let Some(target) = &record.target else { return refuse(record, unrouted()) };
    record.relay.upstreams.shape_request(target, &mut head);
    let speaks = record.relay.upstreams.speaks(target);
    let body = RequestBody::new(incoming);
    record.meter = body.meter().cloned();
    if head.version == Version::HTTP_2 {
        for_second(record, head, body, speaks).await
    } else {
        for_first(record, head, body, speaks).await
    }
}

/// For an HTTP/1 client.
async fn for_first<U: Upstreams>(
    mut record: Box<Record<U>>,
    mut head: Parts,
    body: RequestBody,
    speaks: Speaks,
) -> Answer<U> {
    let switching = if hops::leave_request(&mut head) { head.extensions.remove::<OnUpgrade>() } else { None };
    if head.version == Version::HTTP_10 && head.headers.contains_key(HOST) {
        head.version = Version::HTTP_11;
    }
    let connect = head.method == Method::CONNECT;
    let mut body = body;
    if switching.is_none() && !connect {
        body = mirror::send(&record, &head, body);
        dialect::adopt(&mut head, speaks);
    }
    let (response, carrier) = match attempts::carry(&mut record, Request::from_parts(head, body)).await {
        Ok(carried) => carried,
        Err(failure) => return refuse(record, failure),
    };
    let (mut head, incoming) = response.into_parts();
    record.outcome.status = head.status.as_u16();
    head.version = Version::HTTP_11;
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS || (connect && head.status.is_success());
    hops::leave_response(&mut head.headers, switched);
    shape(&record, &mut head.headers);
    let line = match carrier {
        Carrier::Line(line) if switched => line,
        carrier => return Response::from_parts(head, ResponseBody::upstream(incoming, carrier, record)),
    };
    head.extensions.remove::<OnUpgrade>();
    let Some(client) = switching else { return refuse(record, Failure::unasked()) };
    upgrade::begin(client, line, record);
    Response::from_parts(head, ResponseBody::ours(Bytes::new(), None))
}

/// For an HTTP/2 client.
async fn for_second<U: Upstreams>(
    mut record: Box<Record<U>>,
    mut head: Parts,
    body: RequestBody,
    speaks: Speaks,
) -> Answer<U> {
    if head.method == Method::CONNECT {
        return refuse(record, no_tunnel());
    }
    let body = mirror::send(&record, &head, body);
    dialect::adopt(&mut head, speaks);
    let (response, carrier) = match attempts::carry(&mut record, Request::from_parts(head, body)).await {
        Ok(carried) => carried,
        Err(failure) => return refuse(record, failure),
    };
    let (mut head, incoming) = response.into_parts();
    record.outcome.status = head.status.as_u16();
    if head.version != Version::HTTP_2 {
        hops::leave_response(&mut head.headers, false);
        head.version = Version::HTTP_2;
    }
    if record.outcome.protocol == Protocol::Grpc {
        record.note_grpc(&head.headers);
    }
    shape(&record, &mut head.headers);
    Response::from_parts(head, ResponseBody::upstream(incoming, carrier, record))
}

fn shape<U: Upstreams>(record: &Record<U>, headers: &mut http::HeaderMap) {
    if let Some(target) = &record.target {
        record.relay.upstreams.shape_response(target, headers);
    }
}

/// The answer that a rule gives.
pub(super) fn give<U: Upstreams>(mut record: Box<Record<U>>, request: &Parts, answer: route::Answer) -> Answer<U> {
    if answer.flag != super::outcome::NOTHING {
        record.flag(answer.flag);
    }
    record.outcome.status = answer.status.as_u16();
    record.outcome.grpc_status = answer.grpc_status.map(u16::from);
    (record.outcome.rule, record.outcome.told) = (answer.rule, answer.told);
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.headers) = (answer.status, answer.headers);
    let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut body = if bodiless { Bytes::new() } else { answer.body };
    if request.method == Method::HEAD {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        body = Bytes::new();
    }
    Response::from_parts(head, ResponseBody::ours(body, Some(record)))
}

pub(super) fn refuse<U: Upstreams>(mut record: Box<Record<U>>, failure: Failure) -> Answer<U> {
    record.flag(failure.flag);
    let (mut head, text, grpc_status) = answer(failure, record.outcome.protocol);
    record.outcome.status = head.status.as_u16();
    record.outcome.grpc_status = grpc_status;
    // A script of another origin may not read an error that does not say so.
    shape(&record, &mut head.headers);
    let text = match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    Response::from_parts(head, ResponseBody::ours(text, Some(record)))
}

/// RFC 9112 section 3.2: two readers of a request with two hosts may route it to two places.
fn has_one_host(head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    let first = hosts.next().is_some();
    hosts.next().is_none() && (first || head.version != Version::HTTP_11)
}

fn refuse_and_close<U: Upstreams>(record: Box<Record<U>>) -> Answer<U> {
    let mut answer = refuse(record, Failure::last(StatusCode::BAD_REQUEST, "DPE", "a request has one Host"));
    if answer.version() != Version::HTTP_2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn unreadable() -> Failure {
    Failure::last(StatusCode::BAD_REQUEST, "DPE", "the path has an escaped NUL")
}

fn no_tunnel() -> Failure {
    Failure::last(StatusCode::NOT_IMPLEMENTED, "DPE", "CONNECT over HTTP/2 is not relayed")
}
