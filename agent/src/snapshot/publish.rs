//! How one writer hands snapshots to all readers: a pointer to load, and a signal to wait for.

use super::Snapshot;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::watch;

/// The one that publishes.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    generation: watch::Sender<u64>,
}

/// One of those that read.
#[derive(Clone, Debug)]
pub struct Reader {
    current: Arc<ArcSwap<Snapshot>>,
    generation: watch::Receiver<u64>,
}

/// The publisher is gone: no other snapshot will come.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no more snapshots are published")]
pub struct Closed;

impl Publisher {
    /// Starts with a snapshot.
    pub fn new(first: Arc<Snapshot>) -> (Self, Reader) {
        let (generation, seen) = watch::channel(first.generation);
        let current = Arc::new(ArcSwap::new(first));
        let reader = Reader { current: Arc::clone(&current), generation: seen };
        (Self { current, generation }, reader)
    }

    /// Makes a snapshot the current one.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        // First the pointer: who is woken must find what they were woken for.
        self.current.store(snapshot);
        self.generation.send_replace(generation);
    }
}

impl Reader {
    /// The current snapshot, without a lock; for the length of a decision.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The current snapshot, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Waits for a snapshot that this reader has not been told of.
    ///
    /// # Errors
    /// The publisher is gone.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        self.generation.changed().await.map_err(|_| Closed)
    }
}
