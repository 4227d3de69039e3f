//! A connection that wakes itself goes on at once.
//!
//! Both ends of an exchange live in one task, and hyper's halves talk through wakers: each request wakes the task that is
//! just running. tokio takes that for a yield, queues the task and wakes another thread to look at the queue: 20 us of a
//! request at one connection, and the connection moves to another core.

use futures_util::task::{ArcWake, AtomicWaker, waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

/// Polls of one task, in a row while it wakes itself.
pub(super) struct Inline {
    own: Arc<Own>,
    waker: Waker,
}

struct Own {
    polling: AtomicBool,
    again: AtomicBool,
    task: AtomicWaker,
}

/// Polls in a row; then others of this thread get their turn.
const MOST: usize = 16;

impl ArcWake for Own {
    /// The order makes sure that no wake-up is lost: either the poll that runs sees `again`, or this sees that it is over.
    fn wake_by_ref(own: &Arc<Self>) {
        own.again.store(true, SeqCst);
        if !own.polling.load(SeqCst) {
            own.task.wake();
        }
    }
}

impl Inline {
    pub(super) fn new() -> Self {
        let own = Arc::new(Own { polling: false.into(), again: false.into(), task: AtomicWaker::new() });
        Self { waker: waker(Arc::clone(&own)), own }
    }

    /// Polls until it is ready, or waits for something that is not itself.
    pub(super) fn poll<T>(&self, cx: &mut Context<'_>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.own.task.register(cx.waker());
        for _ in 0..MOST {
            self.own.polling.store(true, SeqCst);
            self.own.again.store(false, SeqCst);
            let polled = poll(&mut Context::from_waker(&self.waker));
            self.own.polling.store(false, SeqCst);
            if polled.is_ready() || !self.own.again.load(SeqCst) {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    struct Count(AtomicUsize);

    impl ArcWake for Count {
        fn wake_by_ref(count: &Arc<Self>) {
            count.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn waking_itself_does_not_reach_the_scheduler() {
        let (inline, count, mut polls) = (Inline::new(), Arc::new(Count(0.into())), 0);
        let task = waker(Arc::clone(&count));
        let polled = inline.poll(&mut Context::from_waker(&task), |cx| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!((polled, polls, count.0.load(Ordering::Relaxed)), (Poll::Ready(()), 3, 0));
    }

    #[test]
    fn one_that_never_rests_lets_others_run() {
        let (inline, count, mut polls) = (Inline::new(), Arc::new(Count(0.into())), 0);
        let task = waker(Arc::clone(&count));
        let polled = inline.poll(&mut Context::from_waker(&task), |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!((polled, polls, count.0.load(Ordering::Relaxed)), (Poll::Pending, MOST, 1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn wakes_of_other_threads_are_not_lost() {
        for _ in 0..2_000 {
            let (inline, (tell, mut told)) = (Inline::new(), tokio::sync::oneshot::channel());
            let other = tokio::spawn(async move { tell.send(()) });
            let waiting = std::future::poll_fn(|cx| inline.poll(cx, |cx| std::pin::Pin::new(&mut told).poll(cx)));
            let waited = tokio::time::timeout(Duration::from_secs(5), waiting).await;
            assert!(waited.is_ok_and(|said| said.is_ok()), "a wake-up was lost");
            other.await.unwrap().unwrap();
        }
    }
}
