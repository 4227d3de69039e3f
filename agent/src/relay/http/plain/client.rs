//! The client's side of a connection.

use super::super::watch::Watch;
use super::head::{Look, look};
use bytes::{Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A stream with what came over it and was not used yet.
pub(super) struct Client<'a, S> {
    io: &'a mut S,
    pub(super) buffer: BytesMut,
    watch: Arc<Watch>,
    /// Bytes to the client, gathered for one write.
    pub(super) out: Vec<u8>,
}

/// What the client does next.
pub(super) enum Next {
    Request(Box<super::head::Head>),
    /// It is not plain, or the connection ended in the middle of it.
    Odd(Bytes),
    /// It closed between requests, or is to be closed.
    Over,
}

/// Room for a read; what comes ahead of its turn is not read further than this.
const ROOM: usize = 8 * 1024;

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Client<'a, S> {
    pub(super) fn new(io: &'a mut S, start: &[u8], watch: Arc<Watch>) -> Self {
        let mut buffer = BytesMut::with_capacity(ROOM);
        buffer.extend_from_slice(start);
        Self { io, buffer, watch, out: Vec::new() }
    }

    /// Waits for a request's header block.
    ///
    /// # Errors
    /// The stream's.
    pub(super) async fn next(&mut self, header_bytes: usize) -> io::Result<Next> {
        let mut seen = 0;
        loop {
            match look(&mut self.buffer, seen, header_bytes) {
                Look::Plain(head) => return Ok(Next::Request(head)),
                Look::Odd(bytes) => return Ok(Next::Odd(bytes)),
                Look::Partial => seen = self.buffer.len(),
            }
            if seen > 0 {
                self.watch.hears();
            }
            match self.more().await? {
                Some(0) if seen == 0 => return Ok(Next::Over),
                Some(0) => return Ok(Next::Odd(self.buffer.split().freeze())),
                Some(_) => {}
                None => return Ok(Next::Over),
            }
        }
    }

    /// Reads; none where the connection is to be closed and nothing has come.
    async fn more(&mut self) -> io::Result<Option<usize>> {
        poll_fn(|cx| {
            if self.buffer.is_empty() && self.watch.is_finishing() {
                return Poll::Ready(Ok(None));
            }
            self.poll_read(cx).map_ok(Some)
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(ROOM / 2);
        pin!(self.io.read_buf(&mut self.buffer)).poll(cx)
    }

    /// Reads until there are so many bytes; false if there will not be.
    pub(super) async fn fill(&mut self, len: usize) -> bool {
        while self.buffer.len() < len {
            if poll_fn(|cx| self.poll_read(cx)).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    }

    /// Does this as long as the client is there.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Ready when the client has closed. Reads what comes ahead of its turn.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffer.len() < ROOM {
            match self.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(len)) if len > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// The stream's.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        self.io.write_all(&self.out).await?;
        self.out.clear();
        self.io.flush().await
    }

    /// Writes this.
    ///
    /// # Errors
    /// The stream's.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Tells the client that nothing more comes.
    pub(super) async fn close(&mut self) {
        // Whoever has gone already has heard it.
        let _ = poll_fn(|cx| Pin::new(&mut *self.io).poll_shutdown(cx)).await;
    }
}

impl<S> Client<'_, S> {
    /// Whether the connection ends with the answer to this request.
    pub(super) fn closes(&self, head: &super::head::Head) -> bool {
        head.closes || self.watch.is_finishing()
    }

    /// Gathers the end of a header block.
    pub(super) fn end_head(&mut self, closes: bool) {
        self.out.extend_from_slice(if closes { b"connection: close\r\n\r\n" } else { b"\r\n" });
    }
}
