//! Where a Service's traffic can go.

use super::ObjectId;
use crate::vocab::{ClusterName, Hostname, NodeName};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// One address of a slice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointAddress {
    /// The address, usually a pod's.
    pub ip: IpAddr,
    /// Whether it takes new connections.
    pub ready: bool,
    /// Whether it could: also while it ends. What Kubernetes uses where nothing is ready.
    pub serving: bool,
    /// Whether it is about to end.
    pub terminating: bool,
    /// The node that it is on.
    pub node: Option<NodeName>,
    /// The zone that it is in.
    pub zone: Option<Arc<str>>,
    /// The zones whose clients should use it (topology hints); empty: nobody said.
    pub for_zones: Arc<[Arc<str>]>,
    /// The nodes whose clients should use it; empty: nobody said.
    pub for_nodes: Arc<[NodeName]>,
}

impl EndpointAddress {
    /// An address of which only this is known.
    pub fn new(ip: IpAddr, ready: bool) -> Self {
        Self {
            ip,
            ready,
            serving: ready,
            terminating: false,
            node: None,
            zone: None,
            for_zones: Arc::default(),
            for_nodes: Arc::default(),
        }
    }
}

/// One port of a slice: the Service port's name and the number behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointPort {
    /// The name of the Service port it backs, empty where that has none.
    pub name: Arc<str>,
    /// The port on the pod.
    pub number: u16,
}

/// An EndpointSlice of one cluster. A Service's endpoints are the union over its slices in every cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// The cluster that wrote it.
    pub cluster: ClusterName,
    /// The slice.
    pub id: ObjectId,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: Hostname,
    /// The addresses.
    pub addresses: Vec<EndpointAddress>,
    /// The ports.
    pub ports: Vec<EndpointPort>,
}
