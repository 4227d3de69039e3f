//! What telemetry is told of the two ends of a connection.

use super::dial::Client;
use super::hop::Hop;
use crate::balance::Endpoint;
use crate::model::Workload;
use crate::route::ServiceRef;
use crate::snapshot::Snapshot;
use crate::telemetry::{self, Open, Party, Security, Target, Tls, Tunnel};
use crate::tunnel::tls::TlsInfo;
use crate::vocab::{Alpn, OrigDst, SpiffeId};
use std::net::SocketAddr;
use std::sync::Arc;

/// A pod of this node: its network namespace proves who it is.
pub fn proven(workload: &Arc<Workload>, address: SocketAddr) -> Party {
    Party { workload: Some(Arc::clone(workload)), principal: Some(workload.identity.clone()), address }
}

/// A peer with what it proved; the pod is named only where the address and the proof agree.
pub fn peer(now: &Snapshot, address: SocketAddr, principal: Option<&SpiffeId>) -> Party {
    let workload = now.workload_at(address.ip());
    let agrees = |workload: &&Arc<Workload>| principal.is_none_or(|id| workload.identity == *id);
    Party { workload: workload.filter(agrees).cloned(), principal: principal.cloned(), address }
}

/// The Service of a route.
pub fn service(service: &ServiceRef) -> telemetry::ServiceRef {
    telemetry::ServiceRef {
        host: service.host.clone(),
        name: Arc::clone(&service.name),
        namespace: service.namespace.clone(),
        port: service.port,
    }
}

/// What Istio calls that which the mesh does not know, where it may be reached and where not.
pub fn beyond(allowed: bool) -> telemetry::ServiceRef {
    let name = if allowed { "PassthroughCluster" } else { "BlackHoleCluster" };
    telemetry::ServiceRef { host: name.into(), name: name.into(), namespace: "unknown".into(), port: 0 }
}

/// Words of a handshake.
pub fn tls(info: &TlsInfo) -> Tls {
    Tls { version: "TLSv1_3", cipher: info.cipher, group: info.group }
}

/// What the destination's agent has proven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proof {
    /// Nothing yet.
    None,
    /// Who it is, in this handshake.
    Handshake(Tls),
    /// Who it is, when a session that others share was made.
    Earlier,
}

impl Proof {
    fn tls(self) -> Option<Tls> {
        match self {
            Self::Handshake(tls) => Some(tls),
            Self::None | Self::Earlier => None,
        }
    }
}

/// A destination that is reached without a tunnel.
pub fn plaintext(endpoint: Option<&Endpoint>, route: Option<&Arc<ServiceRef>>, address: SocketAddr) -> Target {
    let workload = endpoint.and_then(|endpoint| endpoint.workload.clone());
    Target {
        destination: Some(Party { workload, principal: None, address }),
        service: route.map(|route| service(route)),
        tunnel: None,
        security: Some(Security::None),
        tls: None,
    }
}

/// The destination of a hop; what it proved is known once there is a handshake.
pub fn target(hop: &Hop, endpoint: &Endpoint, route: Option<&Arc<ServiceRef>>, proof: Proof) -> Target {
    let bare = plaintext(Some(endpoint), route, endpoint.address);
    let proven = |workload: &Arc<Workload>| Some(proven(workload, endpoint.address));
    let through = |workload, alpn, port| Target {
        destination: if proof == Proof::None { bare.destination.clone() } else { proven(workload) },
        tunnel: Some(Tunnel { alpn, address: SocketAddr::new(endpoint.address.ip(), port) }),
        security: (proof != Proof::None).then_some(Security::MutualTls),
        tls: proof.tls(),
        ..bare.clone()
    };
    match hop {
        Hop::Plaintext | Hop::Forbidden => bare,
        Hop::SameNode(workload) => Target { destination: proven(workload), security: Some(Security::SameNode), ..bare },
        Hop::Underpass(workload) => through(workload, Alpn::Sessions, endpoint.address.port()),
        Hop::Hbone(workload) => through(workload, Alpn::Hbone, super::HBONE_PORT),
    }
}

/// The destination's record of a connection between two pods of this node.
pub fn inbound_twin(record: &Open, client: &Client, target: Target, to: (&Workload, SocketAddr)) -> Open {
    let source = proven(&client.workload, client.address.socket());
    let twin = record.twin(to.0.id.pod.clone(), source, OrigDst::new(to.1));
    twin.target(target);
    twin
}

/// This end, as the destination of what came in.
pub fn received(workload: &Arc<Workload>, address: SocketAddr, tunnel: Option<(Alpn, SocketAddr, Tls)>) -> Target {
    let security = if tunnel.is_some() { Security::MutualTls } else { Security::None };
    Target {
        destination: Some(proven(workload, address)),
        service: None,
        tunnel: tunnel.map(|(alpn, address, _)| Tunnel { alpn, address }),
        security: Some(security),
        tls: tunnel.map(|(_, _, tls)| tls),
    }
}
