//! What a client connection is doing, as far as its time limits care.
//!
//! hyper's own header timeout starts when the connection falls idle, so it would end keep-alive connections after
//! 15 s, and it allocates a timer for each request. This keeps two numbers instead and one timer per connection.

use super::Limits;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Written by the connection's requests and reads, read by its timer. All relaxed: at worst a limit is seen late.
#[derive(Debug)]
pub(super) struct Watch {
    opened: Instant,
    /// Requests under way.
    active: AtomicU32,
    /// Microseconds after `opened`: since when no request is under way.
    idle: AtomicU64,
    /// Microseconds after `opened`, when a header block's first byte came; 0 if none is being read.
    head: AtomicU64,
    /// The connection is to end with the present request.
    finishing: AtomicBool,
}

/// What is due next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A header block must be complete by then.
    Head(Instant),
    /// A request must have begun by then.
    Idle(Instant),
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), active: 0.into(), idle: 0.into(), head: 0.into(), finishing: false.into() }
    }

    /// A header block's first byte may have come.
    pub(super) fn hears(&self) {
        if self.active.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.after_opening(Instant::now()).max(1), Ordering::Relaxed);
        }
    }

    /// Whether a request is under way.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    pub(super) fn finish(&self) {
        self.finishing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    /// What came was no header block.
    pub(super) fn settles(&self) {
        self.head.store(0, Ordering::Relaxed);
    }

    pub(super) fn begins(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
    }

    pub(super) fn ends(&self, now: Instant) {
        self.idle.store(self.after_opening(now), Ordering::Relaxed);
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nothing is due while a request is under way: its route has its own limits.
    pub(super) fn due(&self, limits: &Limits) -> Option<Due> {
        if self.active.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let at = |micros| self.opened + Duration::from_micros(micros);
        Some(match self.head.load(Ordering::Relaxed) {
            0 => Due::Idle(at(self.idle.load(Ordering::Relaxed)) + limits.idle),
            since => Due::Head(at(since) + limits.header_time),
        })
    }

    fn after_opening(&self, now: Instant) -> u64 {
        now.duration_since(self.opened).as_micros() as u64
    }
}
