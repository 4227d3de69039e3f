//! How long an exchange may take, from the end of its request.
//!
//! As in Envoy: a client that uploads slowly, or streams as long as it likes, does not use up the time of the answer.

use super::body::Meter;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Ready when the time is up.
pub(super) struct Deadline {
    request: Option<Arc<Meter>>,
    lasts: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(super) fn new(lasts: Duration, request: Option<Arc<Meter>>) -> Self {
        Self { request, lasts, timer: None }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(request) = &self.request {
            ready!(request.poll_ended(cx));
            self.request = None;
        }
        let lasts = self.lasts;
        self.timer.get_or_insert_with(|| Box::pin(sleep(lasts))).as_mut().poll(cx)
    }
}
