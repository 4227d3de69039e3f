//! Bodies on their way: counted, never gathered.

use super::Upstreams;
use super::line::Line;
use super::record::Record;
use super::session::Ticket;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// What is known of a request body from outside of the connection that sends it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    broken: AtomicBool,
    held: AtomicBool,
    waiting: AtomicWaker,
}

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn count(&self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
    }

    /// The client's side failed before the body's end.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Keeps the body back until [`Meter::release`]: the client waits for `100 Continue`, and hyper sends that when
    /// the body is first asked for, which must not be before the application asked.
    pub(super) fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    pub(super) fn release(&self) {
        self.held.store(false, Ordering::Release);
        self.waiting.wake();
    }

    fn poll_released(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.held.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        if self.held.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// The client's body, or none.
pub(super) struct RequestBody(Option<(Incoming, Arc<Meter>)>);

impl RequestBody {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self(if incoming.is_end_stream() { None } else { Some((incoming, Arc::default())) })
    }

    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn meter(&self) -> Option<&Arc<Meter>> {
        self.0.as_ref().map(|(_, meter)| meter)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((incoming, meter)) = &mut self.0 else { return Poll::Ready(None) };
        ready!(meter.poll_released(cx));
        let polled = ready!(Pin::new(incoming).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => meter.count(frame),
            Some(Err(_)) => meter.broken.store(true, Ordering::Relaxed),
            None => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}

/// The answer's body, together with what carries it: the connection goes back to the pool at its end.
pub(super) struct ResponseBody<U: Upstreams> {
    source: Source,
    line: Option<Box<Line<U>>>,
    ticket: Option<Ticket<U>>,
    record: Option<Box<Record<U>>>,
}

enum Source {
    Upstream(Incoming),
    Ours(Bytes),
}

impl<U: Upstreams> ResponseBody<U> {
    pub(super) fn ours(text: Bytes, record: Option<Box<Record<U>>>) -> Self {
        Self { source: Source::Ours(text), line: None, ticket: None, record }
    }

    pub(super) fn first(incoming: Incoming, line: Box<Line<U>>, record: Box<Record<U>>) -> Self {
        Self { source: Source::Upstream(incoming), line: Some(line), ticket: None, record: Some(record) }
    }

    pub(super) fn second(incoming: Incoming, ticket: Ticket<U>, record: Box<Record<U>>) -> Self {
        Self { source: Source::Upstream(incoming), line: None, ticket: Some(ticket), record: Some(record) }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = match &mut self.source {
            Source::Upstream(incoming) => incoming,
            Source::Ours(text) if text.is_empty() => return Poll::Ready(None),
            Source::Ours(text) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        let Some(line) = self.line.as_mut().filter(|_| polled.is_pending()) else { return polled };
        line.drive(cx);
        Pin::new(incoming).poll_frame(cx)
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(record) = &mut self.record else { return };
        if let Some(data) = frame.data_ref() {
            record.outcome.response_bytes += data.len() as u64;
        }
        if let Some(trailers) = frame.trailers_ref() {
            record.note_grpc(trailers);
        }
    }

    /// All of it went: hands in the account and gives back what carried it.
    fn complete(&mut self) {
        self.ticket = None;
        let Some(mut record) = self.record.take() else { return };
        if let Some(line) = self.line.take() {
            record.relay.pool.put(line);
        }
        record.close();
    }

    fn break_off(&mut self) {
        self.line = None;
        self.ticket = None;
        if let Some(mut record) = self.record.take() {
            record.flag("UC");
            record.close();
        }
    }
}

impl<U: Upstreams> Body for ResponseBody<U> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = ready!(self.poll_source(cx));
        match &polled {
            Some(Ok(frame)) => {
                self.note(frame);
                if frame.is_trailers() || self.is_end_stream() {
                    self.complete();
                }
            }
            Some(Err(_)) => self.break_off(),
            None => self.complete(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(incoming) => incoming.is_end_stream(),
            Source::Ours(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(incoming) => incoming.size_hint(),
            Source::Ours(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl<U: Upstreams> Drop for ResponseBody<U> {
    fn drop(&mut self) {
        // hyper does not ask for a body that is at its end from the start.
        if self.is_end_stream() {
            self.complete();
        }
    }
}
