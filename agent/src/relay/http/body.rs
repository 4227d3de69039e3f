//! A request's body on its way: counted, and gathered only where it may be needed again.

use super::copied::Copy;
use super::kept::{Kept, View};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The client's connection, or what came over it.
    #[error("{0}")]
    Client(hyper::Error),
    /// The application's connection, or what came over it.
    #[error("{0}")]
    Upstream(hyper::Error),
    /// Another attempt reads it now, or a copy fell behind.
    #[error("the body is no longer read here")]
    Superseded,
    /// The rule's time is up.
    #[error("the time for the answer is up")]
    TimedOut,
}

/// What is known of a request body from outside of the connection that sends it.
#[derive(Debug)]
pub(super) struct Meter {
    bytes: AtomicU64,
    broken: AtomicBool,
    held: AtomicBool,
    waiting: AtomicWaker,
    /// The client has to send more before anything can go on.
    owed: AtomicBool,
    ended: AtomicBool,
    began: Instant,
    /// Microseconds after `began`, when the client last sent something.
    progress: AtomicU64,
    watching: AtomicWaker,
}

impl Meter {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            held: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
            owed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            began: Instant::now(),
            progress: AtomicU64::new(0),
            watching: AtomicWaker::new(),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Asks the client's side for more.
    pub(super) fn poll(
        &self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        let Poll::Ready(frame) = &polled else {
            self.owes(true);
            return polled;
        };
        match frame {
            Some(Ok(frame)) => self.count(frame),
            Some(Err(_)) => self.broken.store(true, Ordering::Relaxed),
            None => {}
        }
        self.moved();
        self.owes(false);
        if frame.is_none() || incoming.is_end_stream() {
            self.end();
        }
        polled
    }

    fn moved(&self) {
        self.progress.store(self.began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    fn owes(&self, owed: bool) {
        if self.owed.swap(owed, Ordering::AcqRel) != owed {
            self.watching.wake();
        }
    }

    /// When the client last sent something; pending while it has to send more.
    pub(super) fn poll_progress(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        self.watching.register(cx.waker());
        if self.owed.load(Ordering::Acquire) && !self.ended.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        Poll::Ready(self.began + Duration::from_micros(self.progress.load(Ordering::Relaxed)))
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

    /// All of it came, or no more of it is wanted.
    pub(super) fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.moved();
            self.watching.wake();
        }
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
pub(super) struct RequestBody(Flow);

enum Flow {
    None,
    /// Straight from the client's connection.
    Once(Incoming, Arc<Meter>),
    Kept(View),
    Copy(Copy, Arc<Meter>),
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self(if incoming.is_end_stream() { Flow::None } else { Flow::Once(incoming, Meter::new()) })
    }

    pub(super) fn none() -> Self {
        Self(Flow::None)
    }

    pub(super) fn copy(copy: Copy) -> Self {
        Self(Flow::Copy(copy, Meter::new()))
    }

    pub(super) fn view(kept: Option<&Arc<Kept>>) -> Self {
        Self(kept.map_or(Flow::None, |kept| Flow::Kept(kept.view())))
    }

    /// The body as one that can be read again and copied; none if there is none.
    pub(super) fn keep(mut self) -> Option<Arc<Kept>> {
        match std::mem::replace(&mut self.0, Flow::None) {
            Flow::Once(incoming, meter) => Some(Kept::new(incoming, meter)),
            Flow::Kept(view) => Some(Arc::clone(view.kept())),
            Flow::None | Flow::Copy(..) => None,
        }
    }

    pub(super) fn meter(&self) -> Option<&Arc<Meter>> {
        match &self.0 {
            Flow::None => None,
            Flow::Once(_, meter) | Flow::Copy(_, meter) => Some(meter),
            Flow::Kept(view) => Some(view.meter()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Flow::None => Poll::Ready(None),
            Flow::Once(incoming, meter) => {
                ready!(meter.poll_released(cx));
                let polled = ready!(meter.poll(incoming, cx));
                Poll::Ready(polled.map(|frame| frame.map_err(BodyError::Client)))
            }
            Flow::Kept(view) => {
                ready!(view.meter().poll_released(cx));
                view.poll_frame(cx)
            }
            Flow::Copy(copy, meter) => {
                let polled = ready!(copy.poll_frame(cx));
                if let Some(Ok(frame)) = &polled {
                    meter.count(frame);
                }
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Flow::None => true,
            Flow::Once(incoming, _) => incoming.is_end_stream(),
            Flow::Kept(view) => view.is_end_stream(),
            Flow::Copy(copy, _) => copy.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Flow::None => SizeHint::with_exact(0),
            Flow::Once(incoming, _) => incoming.size_hint(),
            Flow::Kept(view) => view.size_hint(),
            Flow::Copy(copy, _) => copy.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Trailers are a body's last frame, after which hyper does not ask again; and what is not wanted will not come.
        if let Some(meter) = self.meter() {
            meter.end();
        }
    }
}
