//! The time limits of a client connection, and the order to finish.

use super::Limits;
use super::inline::Inline;
use super::watch::{Due, Watch};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Runs a connection within its limits.
pub(super) struct Clock<'a, D> {
    watch: Arc<Watch>,
    limits: Limits,
    drain: Pin<&'a mut D>,
    draining: bool,
    /// Set when the connection was told to finish for idleness: when it is ended if it has not.
    last: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// What the connection is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Go on.
    Advance,
    /// Take no more requests, then go on.
    Finish,
}

/// How it ended.
pub(super) enum End<T> {
    /// By itself.
    Done(T),
    /// In the middle of a header block that took too long.
    HeaderTime,
    /// Idle, and deaf to being told to finish.
    Over,
}

enum Event {
    Finish,
    HeaderTime,
    Over,
}

/// An HTTP/2 client answers GOAWAY within a round trip.
const LINGER: Duration = Duration::from_secs(5);

impl<'a, D: Future<Output = ()>> Clock<'a, D> {
    pub(super) fn new(watch: Arc<Watch>, limits: Limits, drain: Pin<&'a mut D>) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + limits.idle));
        Self { watch, limits, drain, draining: false, last: None, timer }
    }

    /// Runs to the end, by itself or by a limit. `step` is not called again after it was ready.
    pub(super) async fn run<T>(&mut self, mut step: impl FnMut(Step, &mut Context<'_>) -> Poll<T>) -> End<T> {
        let (mut next, inline) = (Step::Advance, Inline::new());
        let mut advance = |cx: &mut Context<'_>| {
            loop {
                if let Poll::Ready(done) = step(next, cx) {
                    return Poll::Ready(End::Done(done));
                }
                next = Step::Advance;
                match ready!(self.poll_event(cx)) {
                    Event::Finish => next = Step::Finish,
                    Event::HeaderTime => return Poll::Ready(End::HeaderTime),
                    Event::Over => return Poll::Ready(End::Over),
                }
            }
        };
        poll_fn(|cx| inline.poll(cx, &mut advance)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if !self.draining && self.drain.as_mut().poll(cx).is_ready() {
            self.draining = true;
            return Poll::Ready(Event::Finish);
        }
        // While requests follow each other the timer is left where it is, early: moving it costs more than finding,
        // once per idle limit, that it was.
        let Some(due) = self.watch.due(&self.limits) else { return Poll::Pending };
        let at = match (due, self.last) {
            (Due::Head(at), _) | (Due::Idle(at), None) => at,
            (Due::Idle(_), Some(last)) => last,
        };
        if self.timer.deadline() > at || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(self.event(due));
            }
            self.timer.as_mut().reset(at);
        }
        Poll::Pending
    }

    fn event(&mut self, due: Due) -> Event {
        match due {
            Due::Head(_) => Event::HeaderTime,
            Due::Idle(_) if self.last.is_some() => Event::Over,
            Due::Idle(_) => {
                self.last = Some(Instant::now() + LINGER);
                Event::Finish
            }
        }
    }
}
