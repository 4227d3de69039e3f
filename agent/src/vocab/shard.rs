//! Which part of a divided structure a thread works in, so that threads seldom meet at one lock.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The calling thread's part, of so many (at least one).
pub fn own_shard(of: usize) -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number) % of.max(1)
}
