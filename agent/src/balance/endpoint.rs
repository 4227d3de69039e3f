//! An address that takes traffic, and how much of ours it has now.

use super::outlier::{Health, Judge};
use super::warmup::Warming;
use crate::model::endpoint::EndpointAddress;
use crate::model::{Locality, Workload};
use crate::vocab::{ClusterName, NodeName};
use http::StatusCode;
use std::net::SocketAddr;
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
    /// Where it is, and for whom.
    pub place: Place,
    pub(super) judged: Option<(Arc<Health>, Arc<Judge>)>,
    pub(super) warming: Option<Warming>,
}

/// Where an endpoint is, and for whom.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Region, zone and subzone; empty where they are not known.
    pub locality: Locality,
    /// Its cluster and node.
    pub node: Option<(ClusterName, NodeName)>,
    /// The zones that Kubernetes means it for; empty: it does not say.
    pub for_zones: Arc<[Arc<str>]>,
    /// The nodes that Kubernetes means it for; empty: it does not say.
    pub for_nodes: Arc<[NodeName]>,
}

/// How a connection or request to an endpoint went, for outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A connection was made, and nothing can be known of what it carries: not for a connection of HTTP requests.
    Connected,
    /// No connection, no answer in time, or it was reset before an answer: no word from the application.
    Failed,
    /// An application answered a request.
    Answered(StatusCode),
}

impl Endpoint {
    /// An endpoint without a history, where its pod is.
    pub fn new(address: SocketAddr, workload: Option<Arc<Workload>>, load: Arc<Load>) -> Self {
        let place = workload.as_ref().map(|workload| Place {
            locality: workload.locality.clone(),
            node: Some((workload.id.cluster.clone(), workload.node.clone())),
            ..Place::default()
        });
        Self { address, workload, load, place: place.unwrap_or_default(), judged: None, warming: None }
    }

    /// Adds what a slice says of it: where it is, as far as its pod did not say, and for whom.
    pub fn listed(mut self, cluster: &ClusterName, listed: &EndpointAddress) -> Self {
        let place = &mut self.place;
        if let (None, Some(node)) = (&place.node, &listed.node) {
            place.node = Some((cluster.clone(), node.clone()));
        }
        if let (true, Some(zone)) = (place.locality.zone.is_empty(), &listed.zone) {
            place.locality.zone = Arc::clone(zone);
        }
        place.for_zones = Arc::clone(&listed.for_zones);
        place.for_nodes = Arc::clone(&listed.for_nodes);
        self
    }

    /// Takes the end of a connection or request into account, where outlier detection is configured. Refusals by policy
    /// are not the endpoint's fault: not for here.
    pub fn settle(&self, outcome: Outcome, now: Instant) {
        if let Some((health, judge)) = &self.judged {
            judge.settle(health, outcome, now);
        }
    }

    /// Whether outlier detection leaves it out now.
    pub fn is_out(&self) -> bool {
        self.judged.as_ref().is_some_and(|(health, _)| health.is_out())
    }

    /// Its part of a full share: less than 1 while it warms up.
    pub(super) fn share(&self, now: Instant) -> f64 {
        self.warming.map_or(1.0, |warming| warming.share(now))
    }

    /// Counts one connection or request, until the result is dropped.
    pub fn begin(&self) -> InFlight {
        self.load.0.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.load))
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
