//! The two questions, asked once per connection: may it come in, may it go out.

use super::PolicyTable;
use crate::model::{MtlsMode, Workload};
use crate::vocab::{OrigDst, SpiffeId};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Proven by the certificate of its tunnel.
    Verified(SpiffeId),
    /// A pod of this node, proven by the network namespace that the connection came out of.
    Local(SpiffeId),
    /// Not proven: plaintext.
    Anonymous,
}

impl Peer {
    /// The proven identity.
    pub fn identity(&self) -> Option<&SpiffeId> {
        match self {
            Self::Verified(identity) | Self::Local(identity) => Some(identity),
            Self::Anonymous => None,
        }
    }
}

/// A passed check. Only this module makes one; what connects asks for it.
#[derive(Debug)]
pub struct Permit(());

/// A failed check.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("denied by {rule}: {reason}")]
pub struct Denied {
    /// Which object decided.
    pub rule: Arc<str>,
    /// Why.
    pub reason: Reason,
}

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The peer did not prove who it is, and the workload takes only mTLS on this port.
    PlaintextRefused,
    /// The workload is not of this agent's cluster, so its policies are not known here.
    NotOurs,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlaintextRefused => "mTLS is STRICT on this port and the peer sent plaintext",
            Self::NotOurs => "the workload is not of this cluster",
        })
    }
}

/// Whether a peer may reach a port of a workload of this cluster.
///
/// # Errors
/// Says which PeerAuthentication refuses it.
pub fn authorize_inbound(
    table: &PolicyTable,
    destination: &Workload,
    port: u16,
    peer: &Peer,
) -> Result<Permit, Denied> {
    if destination.id.cluster != *table.local() {
        return Err(Denied { rule: Arc::clone(table.built_in()), reason: Reason::NotOurs });
    }
    let (mode, rule) = table.mtls(destination, port);
    if mode == MtlsMode::Strict && peer.identity().is_none() {
        return Err(Denied { rule: Arc::clone(rule), reason: Reason::PlaintextRefused });
    }
    Ok(Permit(()))
}

/// Whether a workload may open a connection to an address. Nothing restricts that yet: egress modes will.
///
/// # Errors
/// None today.
pub fn authorize_outbound(_table: &PolicyTable, _source: &Workload, _dst: OrigDst) -> Result<Permit, Denied> {
    Ok(Permit(()))
}
