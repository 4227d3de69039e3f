//! An address that takes traffic, and how much of ours it has now.

use crate::model::Workload;
use http::StatusCode;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Connections and requests of this agent that one address is busy with.
#[derive(Debug, Default)]
pub struct Load(AtomicUsize);

impl Load {
    /// How many are open now.
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One open connection or request; dropping it ends the count.
#[derive(Debug)]
pub struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One address of a service, or a pod's own address.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// The pod behind it; none for an address that no pod of the mesh has.
    pub workload: Option<Arc<Workload>>,
    /// Its load, the same value in every snapshot.
    pub load: Arc<Load>,
}

/// How a connection or request to an endpoint went, for outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A connection was made, and nothing is known of what it carried.
    Connected,
    /// No connection, no answer in time, or it was reset before an answer: no word from the application.
    Failed,
    /// An application answered a request.
    Answered(StatusCode),
}

impl Endpoint {
    /// An endpoint without a history.
    pub fn new(address: SocketAddr, workload: Option<Arc<Workload>>, load: Arc<Load>) -> Self {
        Self { address, workload, load }
    }

    /// Takes the end of a connection or request into account. Refusals by policy are not the endpoint's fault: not
    /// for here.
    pub fn settle(&self, _outcome: Outcome, _now: Instant) {}

    /// Counts one connection or request, until the result is dropped.
    pub fn begin(&self) -> InFlight {
        self.load.0.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.load))
    }
}

/// The ready endpoints of one port of a host, or of a subset of it.
#[derive(Debug, Default)]
pub struct Group {
    ready: Box<[Arc<Endpoint>]>,
    unready: usize,
}

impl Group {
    /// A group of the endpoints that are ready; those that are not are only counted.
    pub fn new(mut ready: Vec<Arc<Endpoint>>, unready: usize) -> Self {
        ready.sort_by_key(|endpoint| endpoint.address);
        Self { ready: ready.into(), unready }
    }

    /// The endpoints that take traffic, ordered by address.
    pub fn ready(&self) -> &[Arc<Endpoint>] {
        &self.ready
    }

    /// Those of the family of the address that the client uses, as Kubernetes has it: an application may listen in one
    /// family only. All of them where that family has none, as when only another cluster has endpoints.
    pub fn like(&self, address: IpAddr) -> &[Arc<Endpoint>] {
        let (v4, v6) = self.ready.split_at(self.ready.partition_point(|endpoint| endpoint.address.is_ipv4()));
        match (address, v4, v6) {
            (IpAddr::V4(_), [], all) | (IpAddr::V6(_), all, []) => all,
            (IpAddr::V4(_), own, _) | (IpAddr::V6(_), _, own) => own,
        }
    }

    /// How many more there are that take none now.
    pub fn unready(&self) -> usize {
        self.unready
    }

    /// Whether nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_counts_what_is_open() {
        let endpoint = Endpoint::new("10.0.0.1:80".parse().unwrap(), None, Arc::default());
        let first = endpoint.begin();
        let second = endpoint.clone().begin();
        assert_eq!(endpoint.load.open(), 2);
        drop(first);
        assert_eq!(endpoint.load.open(), 1);
        drop(second);
        assert_eq!(endpoint.load.open(), 0);
    }
}
