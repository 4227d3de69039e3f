//! A stream with bytes in front of it and an ear on what is read.

use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Hears what was read.
pub(super) trait Ear: Unpin + Send + 'static {
    /// How many of the bytes are passed on; where that is not all, `last_words` follow, and nothing more.
    fn heard(&mut self, bytes: &[u8]) -> usize;

    /// What is passed on instead of what comes, at most so many bytes of it; an empty part is the end.
    fn last_words(&mut self, _room: usize) -> Option<&'static [u8]> {
        None
    }

    /// What comes now is not what was listened to.
    fn leave(&mut self) {}
}

/// Nobody listens.
impl Ear for () {
    fn heard(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

/// Bytes that an upstream connection has delivered so far: tells whether an answer had begun.
#[derive(Debug, Default)]
pub(super) struct Heard(AtomicU64);

impl Heard {
    pub(super) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Ear for Arc<Heard> {
    fn heard(&mut self, bytes: &[u8]) -> usize {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes.len()
    }
}

/// A stream that first delivers `before`.
pub(super) struct Tapped<S, E> {
    stream: S,
    before: Bytes,
    ear: E,
}

impl<S, E: Ear> Tapped<S, E> {
    pub(super) fn new(stream: S, before: Bytes, ear: E) -> Self {
        Self { stream, before, ear }
    }

    /// The same stream after another layer has read ahead and was taken off.
    pub(super) fn put_back(mut self, read_ahead: Bytes) -> Self {
        debug_assert!(self.before.is_empty(), "the layer read everything before it read the stream");
        self.before = read_ahead;
        self.ear.leave();
        self
    }
}

impl<S: AsyncRead + Unpin, E: Ear> AsyncRead for Tapped<S, E> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(words) = self.ear.last_words(out.remaining()) {
            out.put_slice(words);
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let filled = out.filled().len();
        if this.before.has_remaining() {
            let len = this.before.len().min(out.remaining());
            out.put_slice(&this.before.split_to(len));
        } else {
            ready!(Pin::new(&mut this.stream).poll_read(cx, out))?;
        }
        let new = &out.filled()[filled..];
        let passed = if new.is_empty() { 0 } else { this.ear.heard(new) };
        if passed < new.len() {
            out.set_filled(filled + passed);
            out.put_slice(this.ear.last_words(out.remaining()).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, E: Ear> AsyncWrite for Tapped<S, E> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
