//! One request and its answer.

use super::answer::{Failure, answer};
use super::body::{RequestBody, ResponseBody};
use super::record::Record;
use super::serve::Relay;
use super::{Dialed, Protocol, Upstreams};
use super::{first, hops, second, upgrade};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::borrow::Cow;
use std::sync::Arc;

type Answer<U> = Response<ResponseBody<U>>;

/// Routes a request, carries it, and answers: exactly once, whatever happens.
pub(super) async fn exchange<U: Upstreams>(relay: Arc<Relay<U>>, request: Request<Incoming>) -> Answer<U> {
    let (head, incoming) = request.into_parts();
    let mut record = Record::open(&relay, &head);
    match relay.upstreams.route(&head) {
        Ok(target) => record.target = Some(target),
        Err(refused) => return refuse(record, refused.into()),
    }
    let body = RequestBody::new(incoming);
    record.meter = body.meter().cloned();
    let request = Request::from_parts(head, body);
    if request.version() == Version::HTTP_2 {
        over_second(record, request).await
    } else {
        over_first(record, request).await
    }
}

async fn over_first<U: Upstreams>(mut record: Box<Record<U>>, request: Request<RequestBody>) -> Answer<U> {
    let (mut head, body) = request.into_parts();
    let switching = if hops::leave_request(&mut head) { head.extensions.remove::<OnUpgrade>() } else { None };
    if head.version == Version::HTTP_10 && head.headers.contains_key(http::header::HOST) {
        head.version = Version::HTTP_11;
    }
    let connect = head.method == Method::CONNECT;
    let (response, line) = match first::carry(&mut record, Request::from_parts(head, body)).await {
        Ok(carried) => carried,
        Err(failure) => return refuse(record, failure),
    };
    let (mut head, incoming) = response.into_parts();
    record.outcome.status = head.status.as_u16();
    head.version = Version::HTTP_11;
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS || (connect && head.status.is_success());
    hops::leave_response(&mut head.headers, switched);
    if !switched {
        return Response::from_parts(head, ResponseBody::first(incoming, line, record));
    }
    head.extensions.remove::<OnUpgrade>();
    let Some(client) = switching else { return refuse(record, unasked()) };
    upgrade::begin(client, line, record);
    Response::from_parts(head, ResponseBody::ours(Bytes::new(), None))
}

async fn over_second<U: Upstreams>(mut record: Box<Record<U>>, request: Request<RequestBody>) -> Answer<U> {
    if request.method() == Method::CONNECT {
        return refuse(record, no_tunnel());
    }
    let (response, ticket) = match second::carry(&mut record, request).await {
        Ok(carried) => carried,
        Err(failure) => return refuse(record, failure),
    };
    let (head, incoming) = response.into_parts();
    record.outcome.status = head.status.as_u16();
    if record.outcome.protocol == Protocol::Grpc {
        record.note_grpc(&head.headers);
    }
    Response::from_parts(head, ResponseBody::second(incoming, ticket, record))
}

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
        tried.push(target);
        let next = if error.retriable { relay.upstreams.another(&tried) } else { None };
        record.target = Some(next.ok_or(error)?);
    }
}

fn refuse<U: Upstreams>(mut record: Box<Record<U>>, failure: Failure) -> Answer<U> {
    record.flag(failure.flag);
    let (head, text, grpc_status) = answer(failure, record.outcome.protocol);
    record.outcome.status = head.status.as_u16();
    record.outcome.grpc_status = grpc_status;
    let text = match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    Response::from_parts(head, ResponseBody::ours(text, Some(record)))
}

/// An application that switches protocols without being asked is broken (RFC 9110 section 7.8).
fn unasked() -> Failure {
    Failure { status: StatusCode::BAD_GATEWAY, flag: "UPE", reason: "upstream switched protocols unasked".into() }
}

fn no_tunnel() -> Failure {
    Failure { status: StatusCode::NOT_IMPLEMENTED, flag: "DPE", reason: "CONNECT over HTTP/2 is not relayed".into() }
}

fn unrouted() -> Failure {
    Failure { status: StatusCode::NOT_FOUND, flag: "NR", reason: "no route".into() }
}
