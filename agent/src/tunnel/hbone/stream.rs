//! One tunnel: a byte stream each way over an HTTP/2 stream.
//!
//! A relay moves [`Bytes`] ([`ReadHalf::poll_bytes`], [`WriteHalf::poll_capacity`]) without a copy;
//! `AsyncRead` and `AsyncWrite` are there for whoever prefers them, at one copy each.

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// Both directions. Dropped before both ended, it resets the stream: the peer sees `ConnectionReset`.
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

/// What the peer sends.
pub struct ReadHalf {
    stream: RecvStream,
    /// The rest of a frame that a `poll_read` had no room for.
    rest: Bytes,
    _place: Place,
}

/// What is sent to the peer.
pub struct WriteHalf {
    stream: SendStream<Bytes>,
    finished: bool,
    _place: Place,
}

/// The stream's place in its session, free again when both halves are gone.
type Place = Option<Arc<OwnedSemaphorePermit>>;

impl Stream {
    pub(super) fn new(read: RecvStream, write: SendStream<Bytes>, place: Option<OwnedSemaphorePermit>) -> Self {
        let place = place.map(Arc::new);
        Self {
            read: ReadHalf { stream: read, rest: Bytes::new(), _place: place.clone() },
            write: WriteHalf { stream: write, finished: false, _place: place },
        }
    }

    /// Waits until the peer has sent something, or ended; it is there to be read afterwards. Cancel safe.
    ///
    /// # Errors
    /// As for reading.
    pub async fn heard(&mut self) -> io::Result<()> {
        if let Some(bytes) = self.read.bytes().await? {
            self.read.rest = bytes;
        }
        Ok(())
    }

    /// The directions apart, without a lock between them.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }
}

impl ReadHalf {
    /// The next bytes as they arrived, never empty; `None` when the peer finished. Their room in the
    /// flow-control windows is given back at once, so hold few of them.
    ///
    /// Errors: `ConnectionReset` when the peer reset the stream, `ConnectionAborted` when its session
    /// ended by GOAWAY or protocol error, the transport's own when that broke.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        loop {
            match ready!(self.stream.poll_data(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    // Fails only for more than was received.
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Ok(Some(bytes)));
                }
                // RFC 9113, 8.1: a reset with NO_ERROR says that everything was said.
                Some(Err(error)) if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) => {
                    return Poll::Ready(Ok(None));
                }
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            }
        }
    }

    /// [`poll_bytes`](Self::poll_bytes) as a future; cancel safe.
    pub async fn bytes(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_bytes(cx)).await
    }
}

impl WriteHalf {
    /// Waits until some of `wanted` (more than 0) bytes may be sent; says how many, at most `wanted`.
    ///
    /// Errors: as for reading, and `BrokenPipe` after [`finish`](Self::finish).
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.stream.reserve_capacity(wanted);
        loop {
            // Asked first: `poll_capacity` reports increases only, and some may be left from before.
            let capacity = self.stream.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(wanted)));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None if self.finished => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                None => return self.poll_reset(cx).map(Err),
            }
        }
    }

    /// Sends bytes, no more than [`poll_capacity`](Self::poll_capacity) allowed: h2 would buffer the rest
    /// without a bound.
    pub fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.stream.send_data(bytes, false).map_err(into_io)
    }

    /// Sends all of `bytes`, waiting for room as needed. Not cancel safe: what was sent stays sent.
    pub async fn send_all(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while bytes.has_remaining() {
            let len = std::future::poll_fn(|cx| self.poll_capacity(cx, bytes.len())).await?;
            self.send(bytes.split_to(len))?;
        }
        Ok(())
    }

    /// Says that nothing more will come; the other direction stays open. Again is no error.
    pub fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        self.stream.send_data(Bytes::new(), true).map_err(into_io)
    }

    /// Ends both directions at once: the application's connection was reset.
    pub fn reset(&mut self) {
        self.stream.send_reset(Reason::CANCEL);
    }

    /// Waits for the peer to reset the stream, or for the session to break; for ever if both
    /// directions end well. For a relay that has nothing to write now and nothing left to read.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match ready!(self.stream.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(into_io(reason.into())),
            Err(error) => Poll::Ready(into_io(error)),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut bytes) = ready!(self.poll_bytes(cx))? {
            let len = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes.split_to(len));
            self.rest = bytes;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = ready!(self.poll_capacity(cx, buf.len()))?;
        self.send(Bytes::copy_from_slice(&buf[..len]))?;
        Poll::Ready(Ok(len))
    }

    /// Nothing is held here: the session's driver writes as soon as it can.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

/// The kind tells who ended it: a reset stream, an ended session, or the transport under both.
fn into_io(error: h2::Error) -> io::Error {
    let kind = match error.reason() {
        _ if error.is_io() => return error.into_io().unwrap_or_else(|| ErrorKind::BrokenPipe.into()),
        _ if error.is_go_away() => ErrorKind::ConnectionAborted,
        // The peer wants no more of what we send, or we sent after the end.
        Some(Reason::NO_ERROR) | None => ErrorKind::BrokenPipe,
        Some(_) => ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, error)
}
