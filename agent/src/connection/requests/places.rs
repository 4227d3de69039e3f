//! Places among the connections to a service whose number its DestinationRule limits.
//!
//! A pooled connection at rest is not counted: what is limited is how many are used at once.

use crate::balance::{Limit, Overflow, Slot};
use crate::route::Upstream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Told when a place is given back; who waits looks whether it was one of theirs. Limits are few and waiting is rare.
static FREED: Notify = Notify::const_new();

/// As long as a connection may take.
const PATIENCE: Duration = super::super::CONNECT;

/// One connection in use.
pub struct Place(Option<Slot>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0 = None;
        FREED.notify_waiters();
    }
}

/// A place to a service, waited for if need be; none where their number is not limited.
///
/// # Errors
/// `http1MaxPendingRequests` wait already, or it took too long.
pub async fn enter(upstream: &Arc<Upstream>) -> Result<Option<Place>, Overflow> {
    if Limit::Connections.of(&upstream.policy).is_none() {
        return Ok(None);
    }
    if let Ok(slot) = upstream.admit_connection() {
        return Ok(Some(Place(Some(slot))));
    }
    let _pending = upstream.admit_pending()?;
    let waited = Box::pin(timeout(PATIENCE, freed(upstream))).await;
    waited.map_or_else(|_| upstream.admit_connection(), Ok).map(|slot| Some(Place(Some(slot))))
}

async fn freed(upstream: &Upstream) -> Slot {
    loop {
        let mut freed = std::pin::pin!(FREED.notified());
        // Before looking, so that what is freed meanwhile is not missed.
        freed.as_mut().enable();
        if let Ok(slot) = upstream.admit_connection() {
            return slot;
        }
        freed.await;
    }
}
