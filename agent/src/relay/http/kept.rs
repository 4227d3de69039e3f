//! Request bodies that are needed more than once: kept for a retry, copied to mirrors.

use super::body::{BodyError, Meter};
use super::copied::{Copied, Copy};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// Bytes of a body that are kept for a retry; a longer one is not repeated once it began to leave. Also what a copy
/// may lag behind.
pub(super) const MOST: usize = 64 * 1024;

/// A part of a body that can be sent more than once.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        let data = frame.data_ref().cloned().map(Self::Data);
        data.or_else(|| frame.trailers_ref().cloned().map(Self::Trailers))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    pub(super) fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// The client's body, read by one attempt at a time.
pub(super) struct Kept {
    inner: Mutex<Inner>,
    meter: Arc<Meter>,
    hint: SizeHint,
}

struct Inner {
    incoming: Incoming,
    /// What was read, as long as it can be repeated.
    pieces: Vec<Piece>,
    bytes: usize,
    /// Whether all that was read is in `pieces`.
    whole: bool,
    ended: bool,
    /// The view that may read.
    present: u32,
    copies: Vec<Arc<Copied>>,
}

/// One attempt's reading of it. A later view takes over; what the earlier one then reads is an error.
pub(super) struct View {
    kept: Arc<Kept>,
    number: u32,
    next: usize,
}

impl Kept {
    pub(super) fn new(incoming: Incoming, meter: Arc<Meter>) -> Arc<Self> {
        let hint = incoming.size_hint();
        let inner =
            Inner { incoming, pieces: Vec::new(), bytes: 0, whole: true, ended: false, present: 0, copies: Vec::new() };
        Arc::new(Self { inner: Mutex::new(inner), meter, hint })
    }

    /// A body that will have all that this one has. To be asked for before the first view is read.
    pub(super) fn copy(&self) -> Copy {
        let copied = Arc::<Copied>::default();
        self.lock().copies.push(Arc::clone(&copied));
        Copy::new(copied, self.hint)
    }

    /// Nothing needs to be kept: there will be no retry.
    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        inner.whole = false;
        inner.pieces = Vec::new();
    }

    pub(super) fn view(self: &Arc<Self>) -> View {
        let mut inner = self.lock();
        inner.present += 1;
        View { number: inner.present, kept: Arc::clone(self), next: 0 }
    }

    /// Whether another view would have all of it.
    pub(super) fn can_repeat(&self) -> bool {
        self.lock().whole && !self.meter.is_broken()
    }

    /// Nobody panics while holding it but hyper; a body that is cut there ends as broken.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, piece: &Piece) {
        self.copies.iter().for_each(|copy| copy.push(piece.clone()));
        if !self.whole {
            return;
        }
        self.bytes += piece.len();
        if self.bytes > MOST {
            self.whole = false;
            self.pieces = Vec::new();
            return;
        }
        self.pieces.push(piece.clone());
    }

    fn end(&mut self) {
        self.ended = true;
        self.copies.drain(..).for_each(|copy| copy.end());
    }
}

impl View {
    pub(super) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.kept.meter
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.kept.hint
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let inner = self.kept.lock();
        inner.ended && (!inner.whole || self.next == inner.pieces.len())
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let kept = Arc::clone(&self.kept);
        let mut inner = kept.lock();
        if inner.present != self.number {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(piece) = inner.pieces.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(piece.clone().into_frame())));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(kept.meter.poll(&mut inner.incoming, cx));
        let ended = match polled.as_ref() {
            Some(Ok(frame)) => {
                if let Some(piece) = Piece::of(frame) {
                    inner.keep(&piece);
                    self.next += 1;
                }
                frame.is_trailers() || inner.incoming.is_end_stream()
            }
            Some(Err(_)) => false,
            None => true,
        };
        if ended {
            inner.end();
        }
        Poll::Ready(polled.map(|frame| frame.map_err(BodyError::Client)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.copies.drain(..).for_each(|copy| copy.break_off());
    }
}
