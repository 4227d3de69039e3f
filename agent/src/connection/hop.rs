//! How the next hop to an endpoint is made: straight to a pod of this node, through a tunnel, or as plaintext.

use super::Mesh;
use crate::balance::Endpoint;
use crate::model::{TunnelProtocol, Workload};
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
    /// It is not in the mesh.
    Plaintext,
}

/// Chooses the way.
pub fn to(mesh: &Mesh, endpoint: &Endpoint) -> Hop {
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
