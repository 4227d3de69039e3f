//! Where a Service's traffic can go.

use super::ObjectId;
use crate::vocab::{ClusterName, Hostname};
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
