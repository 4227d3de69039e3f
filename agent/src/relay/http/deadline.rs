//! How long an answer may take, from when the client last sent something of its request.
//!
//! As in Envoy, a client that uploads slowly, or streams as long as it likes, does not use up the time of the answer.

use super::body::Meter;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::coop::unconstrained;
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
            // An answer that uses up its task's turn each time would leave none for the timer.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            // The client sent something since the timer was set.
            if Instant::now() < due {
                timer.as_mut().reset(due);
                continue;
            }
            return Poll::Ready(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_comes_for_an_answer_that_always_has_bytes_to_move_too() {
        let mut deadline = Deadline::new(Duration::from_millis(20), None);
        let busy = async {
            loop {
                tokio::task::coop::consume_budget().await;
            }
        };
        let within = super::super::attempts::within::<()>(Some(&mut deadline), busy);
        assert_eq!(tokio::time::timeout(Duration::from_secs(2), within).await, Ok(None));
    }
}
