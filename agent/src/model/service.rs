//! A Kubernetes Service.

use super::Labels;
use crate::vocab::{ClusterName, Hostname, Namespace};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// What an application protocol means for routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1 (`http`); a client that speaks HTTP/2 with prior knowledge is understood too.
    Http,
    /// HTTP/2 without TLS (`http2`, `kubernetes.io/h2c`).
    Http2,
    /// gRPC (`grpc`).
    Grpc,
    /// Opaque bytes, or TLS of the application's own.
    Tcp,
    /// Not said: treated as opaque unless an HTTP route names the port.
    Unknown,
}

impl AppProtocol {
    /// Whether requests can be routed one by one.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServicePort {
    /// The port that clients use.
    pub number: u16,
    /// Its name, empty where it has none.
    pub name: Arc<str>,
    /// From `appProtocol`, else from the port's name, as Istio selects it.
    pub protocol: AppProtocol,
}

/// A Service as one cluster declares it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// The cluster that declares it.
    pub cluster: ClusterName,
    /// `<name>.<namespace>.svc.<cluster domain>`, the same in every cluster.
    pub host: Hostname,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
    /// Its virtual addresses; empty for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// Its TCP ports.
    pub ports: Vec<ServicePort>,
    /// Its labels.
    pub labels: Labels,
}
