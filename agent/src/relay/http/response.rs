//! An answer's body on its way: counted, never gathered.

use super::Upstreams;
use super::body::BodyError;
use super::carrier::Carrier;
use super::record::Record;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The answer's body, together with what carries it: the connection goes back to the pool at its end.
pub(super) struct ResponseBody<U: Upstreams> {
    source: Source,
    carrier: Option<Carrier<U>>,
    record: Option<Box<Record<U>>>,
    /// Why it broke off, to be said when what came before has been written.
    broken: Option<BodyError>,
}

enum Source {
    Upstream(Incoming),
    Ours(Bytes),
}

impl<U: Upstreams> ResponseBody<U> {
    pub(super) fn ours(text: Bytes, record: Option<Box<Record<U>>>) -> Self {
        Self { source: Source::Ours(text), carrier: None, record, broken: None }
    }

    pub(super) fn upstream(incoming: Incoming, carrier: Carrier<U>, record: Box<Record<U>>) -> Self {
        Self { source: Source::Upstream(incoming), carrier: Some(carrier), record: Some(record), broken: None }
    }

    /// An answer of ours, to be given by somebody else.
    pub(super) fn take_ours(&mut self) -> (Bytes, Option<Box<Record<U>>>) {
        let text = match &mut self.source {
            Source::Ours(text) => std::mem::take(text),
            Source::Upstream(_) => Bytes::new(),
        };
        (text, self.record.take())
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = match &mut self.source {
            Source::Upstream(incoming) => incoming,
            Source::Ours(text) if text.is_empty() => return Poll::Ready(None),
            Source::Ours(text) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        let Some(Carrier::Line(line)) = self.carrier.as_mut().filter(|_| polled.is_pending()) else { return polled };
        line.drive(cx);
        Pin::new(incoming).poll_frame(cx)
    }

    /// Whether the rule's time is up; without one there is no timer.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.record.as_mut().and_then(|record| record.deadline.as_mut());
        deadline.is_some_and(|deadline| Pin::new(&mut **deadline).poll(cx).is_ready())
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
        let carrier = self.carrier.take();
        let Some(mut record) = self.record.take() else { return };
        if let Some(Carrier::Line(line)) = carrier {
            record.relay.pool.put(line);
        }
        record.close();
    }

    /// hyper drops what it has not written yet when a body fails, and asks for no more before it has written when a
    /// body is not ready: so it is told one turn later.
    fn break_off(&mut self, flag: &'static str, why: BodyError, cx: &Context<'_>) {
        cx.waker().wake_by_ref();
        self.broken = Some(why);
        self.carrier = None;
        if let Some(mut record) = self.record.take() {
            record.flag(flag);
            record.close();
        }
    }
}

impl<U: Upstreams> Body for ResponseBody<U> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(why) = self.broken.take() {
            return Poll::Ready(Some(Err(why)));
        }
        if self.is_late(cx) {
            self.break_off("UT", BodyError::TimedOut, cx);
            return Poll::Pending;
        }
        match ready!(self.poll_source(cx)) {
            Some(Ok(frame)) => {
                self.note(&frame);
                if frame.is_trailers() || self.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.break_off("UC", BodyError::Upstream(error), cx);
                Poll::Pending
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
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
