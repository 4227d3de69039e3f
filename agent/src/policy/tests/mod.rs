//! What policies decide.

mod authorization;
mod egress;
mod peer_authentication;

use super::*;
use crate::model::Workload;
use crate::snapshot::fixtures::World;

/// Why a connection to a port of a workload is denied before a byte of it is read.
fn denied(world: &World, destination: &Workload, port: u16, peer: &Peer) -> Option<Denied> {
    let to = std::net::SocketAddr::new(destination.addresses[0], port);
    let connection = Connection::new(peer, "10.9.9.9".parse().unwrap(), to);
    match authorize_inbound(&world.snapshot.policies, destination, &connection).verdict {
        Verdict::Denied(denied) => Some(denied),
        _ => None,
    }
}
