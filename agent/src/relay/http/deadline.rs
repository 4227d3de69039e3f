//! How long an answer may take, from when the client last sent something of its request.
//!
//! As in Envoy, a client that uploads slowly, or streams as long as it likes, does not use up the time of the answer.

use super::body::Meter;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Ready when the time is up.
pub(super) struct Deadline {
    request: Option<Arc<Meter>>,
    began: Instant,
    lasts: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(super) fn new(lasts: Duration, request: Option<Arc<Meter>>) -> Self {
        Self { request, began: Instant::now(), lasts, timer: None }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let began = self.began;
        loop {
            let moved = self.request.as_ref().map_or(Poll::Ready(began), |request| request.poll_progress(cx));
            let due = ready!(moved).max(began) + self.lasts;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            // The client sent something since the timer was set.
            if Instant::now() < due {
                timer.as_mut().reset(due);
                continue;
            }
            return Poll::Ready(());
        }
    }
}
