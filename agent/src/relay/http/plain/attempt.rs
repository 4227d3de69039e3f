//! Attempts at a plain request: all of it is at hand, so it can be sent again.

use super::super::Upstreams;
use super::super::answer::Failure;
use super::super::attempts::{After, Tries, flagged, judge, late, within};
use super::super::deadline::Deadline;
use super::super::dial::{dial, unrouted};
use super::super::first::enter;
use super::super::line::Line;
use super::super::record::Record;
use super::chunks::Chunks;
use super::reply::{Framing, Reply};
use super::request::Outgoing;
use crate::model::http_rule::Retry;
use crate::route::retry::{Attempt, may_be_worth};
use bytes::BytesMut;
use http::{Method, StatusCode};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

/// Buffers of one client connection.
#[derive(Default)]
pub(super) struct Scratch {
    out: Vec<u8>,
    /// What came of the answer, and was not passed on.
    pub(super) answer: BytesMut,
}

/// The head of an answer, at the front of the buffer, and what will deliver the rest.
pub(super) struct Carried<U: Upstreams> {
    pub(super) line: Box<Line<U>>,
    pub(super) reply: Reply,
}

impl<U: Upstreams> Carried<U> {
    pub(super) fn switches(&self) -> bool {
        self.reply.status == StatusCode::SWITCHING_PROTOCOLS
    }
}

/// A request, and its method.
type Asked<'a> = (&'a Outgoing, &'a Method);
type Answer<U> = Result<Carried<U>, Failure>;

/// Room for a read of an answer.
const ROOM: usize = 8 * 1024;

/// Sends the request until there is an answer to give to the client.
///
/// # Errors
/// There is none.
pub(super) async fn carry<U: Upstreams>(record: &mut Record<U>, asked: Asked<'_>, scratch: &mut Scratch) -> Answer<U> {
    let target = record.target.clone().ok_or_else(unrouted)?;
    let relay = Arc::clone(&record.relay);
    let terms = relay.upstreams.terms(&target);
    let mut deadline = terms.timeout.map(|lasts| Box::new(Deadline::new(lasts, None)));
    let carried = match terms.retry {
        Some(retry) => within(deadline.as_deref_mut(), repeat(record, asked, retry, scratch)).await,
        None => within(deadline.as_deref_mut(), once(record, asked, 1, scratch)).await,
    };
    let carried = carried.unwrap_or_else(|| late(record));
    // What we answer ourselves needs no time.
    record.deadline = deadline.filter(|_| carried.is_ok());
    carried
}

async fn repeat<U: Upstreams>(
    record: &mut Record<U>,
    asked: Asked<'_>,
    retry: &Retry,
    scratch: &mut Scratch,
) -> Answer<U> {
    record.alone = true;
    let mut tries = Tries::new(retry);
    loop {
        let mut limit = retry.per_try.map(|lasts| Deadline::new(lasts, None));
        let carried = within(limit.as_mut(), once(record, asked, tries.number(), scratch)).await;
        let carried = carried.unwrap_or_else(|| late(record));
        let after = match &carried {
            Ok(Carried { reply, .. }) if !may_be_worth(&retry.on, reply.status, reply.marked) => return carried,
            Ok(Carried { reply, .. }) => {
                let headers = reply.fields(&scratch.answer);
                let attempt = Attempt::Answered { status: reply.status, headers: &headers };
                tries.after(record, Some(&attempt), || true)
            }
            Err(failure) => tries.after(record, failure.attempt().as_ref(), || true),
        };
        let next = match after {
            After::Over(None) => return carried,
            After::Over(Some(flag)) => return flagged(record, carried, flag),
            After::Elsewhere(target) => target,
            After::Again(target, pause) => {
                discard(record, carried, &scratch.answer);
                sleep(pause).await;
                target
            }
        };
        record.target = Some(next);
        record.handle = None;
    }
}

/// Keeps the connection of an answer that nobody is to see, if all of it is there.
fn discard<U: Upstreams>(record: &Record<U>, carried: Answer<U>, answer: &[u8]) {
    let Ok(Carried { line, reply }) = carried else { return };
    let body = &answer[reply.len..];
    let whole = match reply.body {
        Framing::None => body.is_empty(),
        Framing::Length(length) => body.len() as u64 == length,
        Framing::Chunked => {
            let mut chunks = Chunks::default();
            chunks.follow(body) == Ok(body.len()) && chunks.is_over()
        }
        Framing::Close => false,
    };
    if whole && reply.reusable {
        record.relay.pool.put(line);
    }
}

/// One attempt.
async fn once<U: Upstreams>(
    record: &mut Record<U>,
    asked: Asked<'_>,
    number: usize,
    scratch: &mut Scratch,
) -> Answer<U> {
    record.outcome.attempts += 1;
    record.trying = true;
    asked.0.write(number, &mut scratch.out);
    let carried = sent(record, asked, scratch).await;
    record.trying = false;
    judge(record, carried.as_ref().map(|carried| carried.reply.status));
    carried
}

async fn sent<U: Upstreams>(record: &mut Record<U>, asked: Asked<'_>, scratch: &mut Scratch) -> Answer<U> {
    enter(record).await?;
    let mut may_reuse = true;
    loop {
        let pooled = if may_reuse { record.key().and_then(|key| record.relay.pool.take(&key)) } else { None };
        let reused = pooled.is_some();
        let mut line = match pooled {
            Some(line) => line,
            None => {
                let (dialed, key) = Box::pin(dial(record)).await?;
                Box::new(Line::new(dialed, key))
            }
        };
        record.handle = Some(line.handle.clone());
        let broken = match ask(&mut line, asked.1, scratch, record.relay.limits.header_bytes).await {
            Ok(reply) => return Ok(Carried { line, reply }),
            Err(broken) => broken,
        };
        // A connection closed while the request was on its way (RFC 9112 section 9.3.1): once, and only if the
        // application cannot tell that it got it twice.
        let spare = broken.begun && asked.0.idempotent && line.is_silent();
        if !reused || (broken.begun && !spare) {
            return Err(broken.failure);
        }
        may_reuse = !spare;
    }
}

/// No answer.
struct Broken {
    /// Whether the application may have seen something of the request.
    begun: bool,
    failure: Failure,
}

impl Broken {
    fn off(begun: bool) -> Self {
        Self { begun, failure: Failure::disconnected(begun) }
    }
}

/// Sends what is in the buffer and waits for the head of its answer.
async fn ask<U: Upstreams>(
    line: &mut Line<U>,
    method: &Method,
    scratch: &mut Scratch,
    header_bytes: usize,
) -> Result<Reply, Broken> {
    let Scratch { out, answer } = scratch;
    answer.clear();
    let Some(wire) = line.begin() else { return Err(Broken::off(false)) };
    let first = wire.write(out).await.unwrap_or(0);
    if first == 0 {
        return Err(Broken::off(false));
    }
    // One that closed before it had all of it may have answered.
    let _ = match wire.write_all(&out[first..]).await {
        Ok(()) => wire.flush().await,
        broke => broke,
    };
    loop {
        answer.reserve(ROOM);
        if wire.read_buf(answer).await.unwrap_or(0) == 0 {
            return Err(Broken::off(true));
        }
        match Reply::read(answer, method, header_bytes) {
            Ok(Some(reply)) => return Ok(reply),
            Ok(None) => {}
            Err(_) => return Err(Broken { begun: true, failure: Failure::malformed() }),
        }
    }
}
