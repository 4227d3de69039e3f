//! How the next hop to an endpoint is made: straight to a pod of this node, through a tunnel, or as plaintext.

use super::Mesh;
use crate::balance::Endpoint;
use crate::model::traffic_policy::{ClientTls, ClientTlsMode};
use crate::model::{TunnelProtocol, Workload};
use crate::vocab::SpiffeId;
use std::sync::Arc;

/// The way to an endpoint.
#[derive(Clone, Debug)]
pub enum Hop {
    /// The pod is on this node: its identity is known by its network namespace and the bytes never leave the node.
    SameNode(Arc<Workload>),
    /// The pod's agent speaks `underpass/1`, on the application's own port.
    Underpass(Arc<Workload>),
    /// The pod's agent speaks HBONE.
    Hbone(Arc<Workload>),
    /// It is not in the mesh, or a rule says that it is to be treated so.
    Plaintext,
    /// A rule demands the mesh's TLS, and the endpoint has none.
    Forbidden,
}

impl Hop {
    /// Whose identity is proven on this way.
    pub fn identity(&self) -> Option<&SpiffeId> {
        match self {
            Self::SameNode(workload) | Self::Underpass(workload) | Self::Hbone(workload) => Some(&workload.identity),
            Self::Plaintext | Self::Forbidden => None,
        }
    }
}

/// Why there is no way.
pub const FORBIDDEN: &str = "the DestinationRule demands ISTIO_MUTUAL, and this endpoint is not in the mesh";

/// Chooses the way, under what a rule says of TLS. TLS of its own is spoken inside whatever way there is.
pub fn to(mesh: &Mesh, endpoint: &Endpoint, tls: Option<&ClientTls>) -> Hop {
    match (tls.map(|tls| tls.mode), known(mesh, endpoint)) {
        (Some(ClientTlsMode::Disable), _) => Hop::Plaintext,
        (Some(ClientTlsMode::IstioMutual), Hop::Plaintext) => Hop::Forbidden,
        (_, hop) => hop,
    }
}

fn known(mesh: &Mesh, endpoint: &Endpoint) -> Hop {
    let Some(workload) = &endpoint.workload else {
        return Hop::Plaintext;
    };
    let workload = Arc::clone(workload);
    match workload.tunnel {
        TunnelProtocol::Plaintext => Hop::Plaintext,
        _ if workload.id.cluster == mesh.cluster && workload.node == mesh.node => Hop::SameNode(workload),
        TunnelProtocol::Underpass => Hop::Underpass(workload),
        TunnelProtocol::Hbone => Hop::Hbone(workload),
    }
}
