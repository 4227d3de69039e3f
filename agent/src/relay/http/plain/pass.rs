//! An answer on its way to the client.

use super::super::Upstreams;
use super::super::attempts::within;
use super::super::record::Record;
use super::attempt::Carried;
use super::chunks::Chunks;
use super::client::Client;
use super::reply::Framing;
use bytes::{Buf, BytesMut};
use http::HeaderMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Bytes that are copied behind a head, to leave with it.
const WITH_HEAD: usize = 16 * 1024;
/// What is read of an application at once, while it comes.
const ROOM: usize = 64 * 1024;

/// What is still to come of a body.
enum Rest {
    Nothing,
    Length(u64),
    Chunks(Chunks),
    All,
}

/// Why there is no more of it.
enum Cut {
    Late,
    ClientGone,
    Broken,
}

/// Gives the answer to the client, and its connection back. False if it broke off.
///
/// # Errors
/// The client's stream.
pub(super) async fn pass<S, U>(
    client: &mut Client<'_, S>,
    (mut record, carried): (Box<Record<U>>, Carried<U>),
    answer: &mut BytesMut,
    closes: bool,
) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    let Carried { mut line, reply } = carried;
    record.outcome.status = reply.status.as_u16();
    head(client, &record, (&reply, answer), closes);
    answer.advance(reply.len);
    let mut rest = Rest::of(reply.body);
    loop {
        let piece = match rest.take(answer) {
            Ok(piece) => piece,
            Err(cut) => {
                client.send().await?;
                return Ok(cut_off(&mut record, cut));
            }
        };
        give(client, &rest, &answer[..piece]).await?;
        record.outcome.response_bytes += rest.content(piece);
        answer.advance(piece);
        if rest.is_over() {
            break;
        }
        let Some(wire) = line.wire() else { return Ok(cut_off(&mut record, Cut::Broken)) };
        let more = within(record.deadline.as_deref_mut(), client.during(poll_fn(|cx| poll_more(wire, answer, cx))));
        let cut = match more.await {
            None => Cut::Late,
            Some(None) => Cut::ClientGone,
            Some(Some(Ok(0))) if matches!(rest, Rest::All) => {
                rest = Rest::Nothing;
                client.out.extend_from_slice(b"0\r\n\r\n");
                client.send().await?;
                break;
            }
            Some(Some(Ok(0) | Err(_))) => Cut::Broken,
            Some(Some(Ok(_))) => continue,
        };
        return Ok(cut_off(&mut record, cut));
    }
    if reply.reusable && answer.is_empty() {
        record.relay.pool.put(line);
    }
    record.outcome.response_bytes += rest.counted();
    record.close();
    Ok(true)
}

/// Gathers the header block.
fn head<S, U>(
    client: &mut Client<'_, S>,
    record: &Record<U>,
    (reply, answer): (&super::reply::Reply, &[u8]),
    closes: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstreams,
{
    let upstreams = &record.relay.upstreams;
    let target = record.target.as_ref().filter(|target| upstreams.shapes(target).response);
    match target {
        None => reply.pass(answer, None, &mut client.out),
        Some(target) => {
            let shape = |headers: &mut HeaderMap| upstreams.shape_response(target, headers);
            reply.pass(answer, Some(&shape), &mut client.out);
        }
    }
    client.end_head(closes);
}

/// Says in the record why; the connection cannot be used any more.
fn cut_off<U: Upstreams>(record: &mut Record<U>, cut: Cut) -> bool {
    record.flag(match cut {
        Cut::Late => "UT",
        Cut::ClientGone => "DC",
        Cut::Broken => "UC",
    });
    record.close();
    false
}

/// Writes a piece of the body, behind what was gathered.
async fn give<S>(client: &mut Client<'_, S>, rest: &Rest, piece: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if matches!(rest, Rest::All) && !piece.is_empty() {
        client.out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        client.out.extend_from_slice(piece);
        client.out.extend_from_slice(b"\r\n");
        return client.send().await;
    }
    if client.out.is_empty() {
        return client.write(piece).await;
    }
    if piece.len() <= WITH_HEAD {
        client.out.extend_from_slice(piece);
        return client.send().await;
    }
    client.send().await?;
    client.write(piece).await
}

/// Reads while there is something: each piece is a write to the client.
fn poll_more<W: AsyncRead + Unpin>(
    wire: &mut W,
    answer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    while answer.len() < ROOM {
        answer.reserve(ROOM / 4);
        match pin!(wire.read_buf(answer)).poll(cx) {
            Poll::Ready(Ok(len)) if len > 0 => {}
            _ if !answer.is_empty() => break,
            ended => return ended,
        }
    }
    Poll::Ready(Ok(answer.len()))
}

impl Rest {
    fn of(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Nothing,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunks(Chunks::default()),
            Framing::Close => Self::All,
        }
    }

    /// How many of these bytes belong to the body.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Cut> {
        match self {
            Self::Nothing => Ok(0),
            Self::Length(left) => {
                let len = (*left).min(bytes.len() as u64);
                *left -= len;
                Ok(len as usize)
            }
            Self::Chunks(chunks) => chunks.follow(bytes).map_err(|_| Cut::Broken),
            Self::All => Ok(bytes.len()),
        }
    }

    /// Content in a piece of so many bytes; chunks count for themselves.
    fn content(&self, piece: usize) -> u64 {
        if matches!(self, Self::Chunks(_)) { 0 } else { piece as u64 }
    }

    fn counted(&self) -> u64 {
        if let Self::Chunks(chunks) = self { chunks.content } else { 0 }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Nothing | Self::Length(0) => true,
            Self::Length(_) | Self::All => false,
            Self::Chunks(chunks) => chunks.is_over(),
        }
    }
}
