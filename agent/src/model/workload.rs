//! A pod as the mesh sees it.

use super::Locality;
use crate::vocab::{Hostname, NetworkName, NodeName, SpiffeId, WorkloadId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// Kubernetes labels.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What a peer speaks to reach a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelProtocol {
    /// Nothing: the pod is not enrolled, bytes go to it as they are.
    Plaintext,
    /// Istio's HBONE on port 15008.
    Hbone,
    /// `underpass/1` on the application's own port.
    Underpass,
}

/// One pod, of any cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// Cluster, namespace and name.
    pub id: WorkloadId,
    /// The pod's addresses, IPv4 and IPv6.
    pub addresses: Vec<IpAddr>,
    /// The node that runs it.
    pub node: NodeName,
    /// The network it is on.
    pub network: NetworkName,
    /// Who it is: its service account in its trust domain.
    pub identity: SpiffeId,
    /// The pod's labels.
    pub labels: Labels,
    /// The name of what owns the pod (its Deployment), Istio's `workload`.
    pub owner: Arc<str>,
    /// `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`, else the owner.
    pub canonical_service: Arc<str>,
    /// `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else `version`, else `latest`.
    pub canonical_revision: Arc<str>,
    /// Whether it is to be captured: labelled, by itself or its namespace, and not on the host's network.
    pub enrolled: bool,
    /// How peers reach it.
    pub tunnel: TunnelProtocol,
    /// Whether its Ready condition holds.
    pub ready: bool,
    /// Since when, where that is known.
    #[serde(skip)]
    pub ready_since: Option<SystemTime>,
    /// Where it is: its label `istio-locality`, else what its node says.
    pub locality: Locality,
}

impl Workload {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(AsRef::as_ref)
    }
}

/// A host name with the namespace it is looked up from made absolute.
pub fn service_host(name: &str, namespace: &str, domain: &str) -> Hostname {
    format!("{name}.{namespace}.svc.{domain}").into()
}
