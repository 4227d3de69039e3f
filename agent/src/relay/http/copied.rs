//! A mirror's copy of a request body, filled while the body itself is on its way.

use super::body::BodyError;
use super::kept::{MOST, Piece};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// What the copy's reader has not taken yet.
#[derive(Default)]
pub(super) struct Copied {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Broken,
}

impl Copied {
    /// Never waits: a reader that is too far behind loses its copy.
    pub(super) fn push(&self, piece: Piece) {
        let mut queue = self.lock();
        queue.bytes += piece.len();
        if queue.bytes > MOST {
            queue.pieces.clear();
            queue.end = Some(End::Broken);
        } else if queue.end.is_none() {
            queue.pieces.push_back(piece);
        }
        drop(queue);
        self.reader.wake();
    }

    pub(super) fn end(&self) {
        self.finish(End::Complete);
    }

    pub(super) fn break_off(&self) {
        self.finish(End::Broken);
    }

    fn finish(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.reader.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end.
pub(super) struct Copy {
    copied: Arc<Copied>,
    hint: SizeHint,
}

impl Copy {
    pub(super) fn new(copied: Arc<Copied>, hint: SizeHint) -> Self {
        Self { copied, hint }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.hint
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let queue = self.copied.lock();
        queue.pieces.is_empty() && queue.end == Some(End::Complete)
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.copied.reader.register(cx.waker());
        let mut queue = self.copied.lock();
        if let Some(piece) = queue.pieces.pop_front() {
            queue.bytes -= piece.len();
            return Poll::Ready(Some(Ok(piece.into_frame())));
        }
        match queue.end {
            Some(End::Complete) => Poll::Ready(None),
            Some(End::Broken) => Poll::Ready(Some(Err(BodyError::Superseded))),
            None => Poll::Pending,
        }
    }
}
