//! What is under way to an upstream, counted over all snapshots, and the limits of it.

use super::Endpoint;
use super::outlier::{Ejections, Health};
use super::recent::Recent;
use super::sticky::Clients;
use crate::model::PortPolicy;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use thiserror::Error;

/// What one upstream of this agent is busy with: the same value in every snapshot.
#[derive(Debug)]
pub struct Standing {
    open: [AtomicU32; 4],
    overflows: [AtomicU64; 4],
    /// Whose turn it is.
    turn: AtomicUsize,
    ejections: Arc<Ejections>,
    clients: Clients,
    /// Counted where a retry budget has an interval.
    recent: Recent,
    healths: Mutex<HashMap<SocketAddr, Arc<Health>>>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            open: Default::default(),
            overflows: Default::default(),
            // The agents of a mesh must not all begin with the same endpoint.
            turn: AtomicUsize::new(fastrand::usize(..)),
            ejections: Arc::default(),
            clients: Clients::default(),
            recent: Recent::default(),
            healths: Mutex::default(),
        }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections (`tcp.maxConnections`).
    Connections,
    /// Requests that wait for a connection (`http.http1MaxPendingRequests`).
    Pending,
    /// Requests under way (`http.http2MaxRequests`).
    Requests,
    /// Retries under way (`http.maxRetries`, or `retryBudget`).
    Retries,
}

/// As many are under way as may be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{at_most} {} are under way, as many as may be", limit.what())]
pub struct Overflow {
    /// What is limited.
    pub limit: Limit,
    /// To how many.
    pub at_most: u32,
}

impl Overflow {
    /// Envoy's response flag for it; the status is 503.
    pub const FLAG: &'static str = "UO";
}

/// One that is under way; dropping it ends the count.
#[derive(Debug)]
pub struct Slot {
    standing: Arc<Standing>,
    limit: Limit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.standing.count(self.limit).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Standing {
    /// How many are under way.
    pub fn open(&self, limit: Limit) -> u32 {
        self.count(limit).load(Ordering::Relaxed)
    }

    /// Counts one more, until the slot is dropped.
    ///
    /// # Errors
    /// There are `at_most` already.
    pub fn admit(self: &Arc<Self>, limit: Limit, at_most: Option<u32>) -> Result<Slot, Overflow> {
        let at_most = at_most.unwrap_or(u32::MAX);
        if self.count(limit).fetch_add(1, Ordering::Relaxed) < at_most {
            return Ok(Slot { standing: Arc::clone(self), limit });
        }
        self.count(limit).fetch_sub(1, Ordering::Relaxed);
        self.overflows[limit as usize].fetch_add(1, Ordering::Relaxed);
        Err(Overflow { limit, at_most })
    }

    /// How many were refused.
    pub fn overflows(&self, limit: Limit) -> u64 {
        self.overflows[limit as usize].load(Ordering::Relaxed)
    }

    /// Who is out.
    pub fn ejections(&self) -> &Arc<Ejections> {
        &self.ejections
    }

    /// Requests that were begun lately.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(super) fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known of each endpoint; of those that are not among them, nothing is any more.
    pub(super) fn healths(&self, endpoints: &[Arc<Endpoint>], now: Instant) -> Vec<Arc<Health>> {
        let mut known = self.healths.lock();
        let mut next = HashMap::with_capacity(endpoints.len());
        let mut healths = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let who = endpoint.workload.as_ref().map(|workload| &workload.id);
            let before = known.remove(&endpoint.address).filter(|health| health.who.as_ref() == who);
            let health = before.unwrap_or_else(|| Arc::new(Health::new(who.cloned(), now)));
            next.insert(endpoint.address, Arc::clone(&health));
            healths.push(health);
        }
        *known = next;
        healths
    }

    fn count(&self, limit: Limit) -> &AtomicU32 {
        &self.open[limit as usize]
    }
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Pending, Self::Requests, Self::Retries];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending_requests",
            Self::Requests => "requests",
            Self::Retries => "retries",
        }
    }

    /// How many a policy allows; none: without limit.
    pub fn of(self, policy: &PortPolicy) -> Option<u32> {
        let pool = policy.connection_pool.as_ref()?;
        match self {
            Self::Connections => pool.tcp.max_connections,
            Self::Pending => pool.http.max_pending,
            Self::Requests => pool.http.max_requests,
            Self::Retries => pool.http.max_retries,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Connections => "connections (maxConnections)",
            Self::Pending => "waiting requests (http1MaxPendingRequests)",
            Self::Requests => "requests (http2MaxRequests)",
            Self::Retries => "retries (maxRetries or retryBudget)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_refused_until_something_ends() {
        let standing = Arc::new(Standing::default());
        let first = standing.admit(Limit::Connections, Some(2)).unwrap();
        let _second = standing.admit(Limit::Connections, Some(2)).unwrap();
        let over = standing.admit(Limit::Connections, Some(2)).unwrap_err();
        assert_eq!(over, Overflow { limit: Limit::Connections, at_most: 2 });
        assert!(standing.admit(Limit::Requests, Some(1)).is_ok(), "each limit counts by itself");
        drop(first);
        assert!(standing.admit(Limit::Connections, Some(2)).is_ok());
        assert_eq!(standing.open(Limit::Connections), 1, "what was refused is not counted");
    }
}
