//! A Kubernetes Service.

use super::Labels;
use crate::vocab::{ClusterName, Hostname, Namespace};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    /// TLS of the application's own (`https`, `tls`): the client speaks first, and says the name that it wants.
    Tls,
    /// Opaque bytes (`tcp`, `mongo`, `mysql`, `redis`); the server may speak first.
    Tcp,
    /// Not said: the first bytes of each connection tell.
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
    /// Its virtual addresses; empty for a headless Service and for a name.
    pub addresses: Vec<IpAddr>,
    /// What kind of thing its name stands for.
    pub kind: ServiceKind,
    /// Its TCP ports.
    pub ports: Vec<ServicePort>,
    /// Its labels.
    pub labels: Labels,
    /// How long a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
    /// Whether only endpoints on the client's own node are used (`internalTrafficPolicy: Local`); there is no other
    /// choice then where the node has none.
    pub node_local: bool,
    /// Which endpoints are preferred while they are there.
    pub distribution: Distribution,
}

/// What a Service's name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Virtual addresses, and any endpoint behind them.
    #[default]
    Virtual,
    /// The addresses of its pods (`clusterIP: None`): the client chooses one.
    Headless,
    /// Another name (`type: ExternalName`).
    Alias(Hostname),
}

/// `trafficDistribution`: which endpoints are preferred, as long as there are such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// All alike.
    #[default]
    Any,
    /// Those of the client's zone (`PreferSameZone`, formerly `PreferClose`).
    SameZone,
    /// Those of the client's node, then of its zone (`PreferSameNode`).
    SameNode,
}
