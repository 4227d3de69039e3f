//! Plain exchanges: HTTP/1.1 requests that are short, framed in one way only, and ask for nothing but an answer.
//!
//! Nearly all requests are of this kind. Their header blocks are read once, to be routed, and their bytes go on as they
//! came where no rule edits them; hyper reads and writes each message twice, with a channel between its two halves. What
//! is not plain is left to hyper, from its first byte on, for the rest of the connection.

mod attempt;
mod chunks;
mod client;
mod head;
mod pass;
mod reply;
mod request;

use super::answer::Failure;
use super::exchange::{give, refuse};
use super::record::{DELAYED, Record};
use super::response::ResponseBody;
use super::serve::Relay;
use super::{Ruling, Speaks, Upstreams, Verdict};
use crate::route::edits;
use attempt::{Scratch, carry};
use bytes::{Bytes, BytesMut};
use client::{Client, Next};
use head::Head;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use request::Outgoing;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

/// How the plain part of a connection ended.
pub(super) enum Left {
    /// Nothing more comes, or is wanted.
    Over,
    /// With bytes of a request that is not plain.
    Odd(Bytes),
}

/// What follows an exchange.
enum Then {
    /// The next one.
    Next,
    /// Nothing.
    Close,
    /// The same again, by hyper.
    Odd(Bytes),
}

/// A client that has begun to send a short body goes on.
const PATIENCE: Duration = Duration::from_millis(250);

/// Serves requests as long as they are plain; `start` has been read already.
///
/// # Errors
/// The client's stream broke.
pub(super) async fn serve<S, U>(io: &mut S, start: &[u8], relay: &Arc<Relay<U>>) -> io::Result<Left>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    let mut client = Client::new(io, start, Arc::clone(&relay.watch));
    let mut scratch = Scratch::default();
    loop {
        let then = match client.next(relay.limits.header_bytes).await? {
            Next::Request(head) => exchange(&mut client, &mut scratch, relay, head).await?,
            Next::Odd(bytes) => Then::Odd(bytes),
            Next::Over => return Ok(Left::Over),
        };
        match then {
            Then::Next => {}
            Then::Odd(bytes) => return Ok(Left::Odd(joined(bytes, &client.buffer))),
            Then::Close => {
                client.close().await;
                return Ok(Left::Over);
            }
        }
    }
}

fn joined(first: Bytes, rest: &[u8]) -> Bytes {
    if rest.is_empty() {
        return first;
    }
    let mut joined = BytesMut::from(first);
    joined.extend_from_slice(rest);
    joined.freeze()
}

/// One request and its answer: exactly one, whatever happens.
async fn exchange<S, U>(
    client: &mut Client<'_, S>,
    scratch: &mut Scratch,
    relay: &Arc<Relay<U>>,
    mut head: Box<Head>,
) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    if edits::normalise(&mut head.parts.uri).is_err() {
        return Ok(Then::Odd(head.block));
    }
    let mut record = Record::open(relay, &head.parts);
    let Ruling { delay, verdict } = match client.during(relay.upstreams.judged(&head.parts)).await {
        None => return Ok(Then::Close),
        Some(Ok(ruling)) => ruling,
        Some(Err(refused)) => return answered(client, &head, refuse(record, refused.into())).await,
    };
    if let Some(delay) = delay {
        if client.during(Box::pin(sleep(delay))).await.is_none() {
            return Ok(Then::Close);
        }
        record.flag(DELAYED);
    }
    let target = match verdict {
        Verdict::Forward(target) => target,
        Verdict::Answer(answer) => {
            let answer = give(record, &head.parts, answer);
            return answered(client, &head, answer).await;
        }
    };
    if relay.upstreams.speaks(&target) == Speaks::Second || !relay.upstreams.mirrors(&target).is_empty() {
        record.target = Some(target);
        relay.leave_ruled(record);
        return Ok(Then::Odd(head.block));
    }
    let edited = relay.upstreams.shapes(&target).request;
    if edited {
        relay.upstreams.shape_request(&target, &mut head.parts);
    }
    let counted = relay.upstreams.terms(&target).retry.is_some();
    record.target = Some(target);
    let length = head.length.unwrap_or(0);
    if !client.fill(length).await {
        return Ok(Then::Close);
    }
    let outgoing = Outgoing::new(&head, edited, client.buffer.split_to(length).freeze(), counted);
    forward(client, scratch, (record, &head, outgoing)).await
}

/// What there is to send on.
type Forwarded<'a, U> = (Box<Record<U>>, &'a Head, Outgoing);

async fn forward<S, U>(
    client: &mut Client<'_, S>,
    scratch: &mut Scratch,
    (mut record, head, outgoing): Forwarded<'_, U>,
) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    record.outcome.request_bytes = outgoing.body_len() as u64;
    let method = &head.parts.method;
    let carried = match client.during(carry(&mut record, (&outgoing, method), scratch)).await {
        Some(Ok(carried)) => carried,
        Some(Err(failure)) => return tell(client, head, refuse(record, failure)).await,
        None => return Ok(Then::Close),
    };
    if carried.switches() {
        return tell(client, head, refuse(record, Failure::unasked())).await;
    }
    let closes = client.closes(head);
    let passed = pass::pass(client, (record, carried), &mut scratch.answer, closes).await?;
    Ok(if passed && !closes { Then::Next } else { Then::Close })
}

/// Gives an answer of ours to a request whose body was not read yet: a client that still writes when its connection is
/// closed may lose the answer.
async fn answered<S, U>(client: &mut Client<'_, S>, head: &Head, answer: Response<ResponseBody<U>>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    let length = head.length.unwrap_or(0);
    let read = length <= client.buffer.len() || timeout(PATIENCE, client.fill(length)).await.unwrap_or(false);
    let skipped = length.min(client.buffer.len());
    drop(client.buffer.split_to(skipped));
    let then = tell(client, head, answer).await?;
    Ok(if read { then } else { Then::Close })
}

/// Gives an answer of ours.
async fn tell<S, U>(client: &mut Client<'_, S>, head: &Head, answer: Response<ResponseBody<U>>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    let closes = client.closes(head);
    let (parts, mut body) = answer.into_parts();
    let (text, mut record) = body.take_ours();
    reply::status_line(parts.status, None, &mut client.out);
    for (name, value) in &parts.headers {
        reply::line(name.as_str(), value.as_bytes(), &mut client.out);
    }
    let bodiless = matches!(parts.status.as_u16(), 204 | 304) || parts.headers.contains_key(CONTENT_LENGTH);
    if !bodiless {
        reply::line(CONTENT_LENGTH.as_str(), text.len().to_string().as_bytes(), &mut client.out);
    }
    client.end_head(closes);
    if head.parts.method != Method::HEAD {
        client.out.extend_from_slice(&text);
        record.iter_mut().for_each(|record| record.outcome.response_bytes += text.len() as u64);
    }
    client.send().await?;
    record.iter_mut().for_each(|record| record.close());
    Ok(if closes { Then::Close } else { Then::Next })
}
