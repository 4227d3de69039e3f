//! The two questions, asked once per connection: may it come in, may it go out.

use super::PolicyTable;
use super::decide::Question;
use super::facts::{Connection, Request, Seen};
use crate::model::{MtlsMode, OutboundMode, Workload};
use crate::vocab::SpiffeId;
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
    /// A rule of a DENY policy matches.
    Forbidden,
    /// There are ALLOW policies, and no rule of theirs matches.
    NotAllowed,
    /// A policy that cannot be read denies all that it may be for.
    Unreadable,
    /// The destination is not in the mesh, and the workload goes nowhere else.
    NotInRegistry,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlaintextRefused => "mTLS is STRICT on this port and the peer sent plaintext",
            Self::NotOurs => "the workload is not of this cluster",
            Self::Forbidden => "its rule matches",
            Self::NotAllowed => "no rule of an ALLOW policy for the workload matches",
            Self::Unreadable => "the policy cannot be read, and denies until it is corrected",
            Self::NotInRegistry => "the destination is not in the mesh (REGISTRY_ONLY)",
        })
    }
}

/// What is decided, and what is told of policies that decide nothing (AUDIT, dry runs).
#[derive(Debug)]
pub struct Decision {
    /// What is decided.
    pub verdict: Verdict,
    /// To be counted and logged; empty for what is undecided.
    pub reports: Vec<Report>,
}

/// What is decided.
#[derive(Debug)]
pub enum Verdict {
    /// It may come in: the whole connection, or this request.
    Allowed {
        /// The proof.
        permit: Permit,
        /// The rule that allows it; `None` where nothing forbids it.
        by: Option<Arc<str>>,
    },
    /// It may not: the connection is reset, the request gets 403.
    Denied(Denied),
    /// These external authorizers are to be asked first, each of which has to allow it; then decide again with
    /// [`Asked::Passed`].
    Ask(Vec<Arc<str>>),
    /// Only of a connection that nobody has read from: what it says decides. Read its first bytes, then ask
    /// [`authorize_request`] for each request, or [`authorize_opaque`] where it speaks no HTTP. No byte may reach the
    /// application before.
    Undecided,
}

/// What a policy that decides nothing has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `AuthorizationPolicy namespace/name`.
    pub policy: Arc<str>,
    /// What.
    pub told: Told,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.told.as_str(), self.policy)
    }
}

/// What a policy that decides nothing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Told {
    /// An AUDIT policy matches.
    Audited,
    /// In force, it would allow it.
    WouldAllow,
    /// In force, it would deny it.
    WouldDeny,
    /// In force, it would ask its provider.
    WouldAsk,
}

impl Told {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audited => "audit",
            Self::WouldAllow => "dry_run_allow",
            Self::WouldDeny => "dry_run_deny",
            Self::WouldAsk => "dry_run_custom",
        }
    }
}

/// Whether external authorizers were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Not yet.
    No,
    /// They were, and they allow it.
    Passed,
}

impl Decision {
    pub(super) fn of(verdict: Verdict) -> Self {
        Self { verdict, reports: Vec::new() }
    }
}

/// Decides about a connection to a workload of this cluster before a byte of it is read: by PeerAuthentication, then by
/// all AuthorizationPolicies that select the workload, in Istio's order: CUSTOM, DENY, ALLOW. AUDIT and dry runs are
/// told beside it.
///
/// A test of what only a request has (and of `remote.ip` and `connection.sni`, which the first bytes may say) is open
/// here: the connection is denied or allowed where the others decide it, and [`Verdict::Undecided`] else.
///
/// Once it is known that it speaks no HTTP, such a test never holds in an ALLOW policy, in either form, and always holds
/// in the others: a rule that needs HTTP then allows nothing, and denies by what is left of it.
pub fn authorize_inbound(table: &PolicyTable, destination: &Workload, connection: &Connection<'_>) -> Decision {
    decide(table, destination, (connection, Seen::Nothing), Asked::No)
}

/// Decides about a connection that speaks no HTTP. It is never undecided.
pub fn authorize_opaque(
    table: &PolicyTable,
    destination: &Workload,
    connection: &Connection<'_>,
    asked: Asked,
) -> Decision {
    decide(table, destination, (connection, Seen::Opaque), asked)
}

/// Decides about a request. It is never undecided.
pub fn authorize_request(
    table: &PolicyTable,
    destination: &Workload,
    (connection, request): (&Connection<'_>, &Request<'_>),
    asked: Asked,
) -> Decision {
    decide(table, destination, (connection, Seen::Request(request)), asked)
}

fn decide(
    table: &PolicyTable,
    destination: &Workload,
    (connection, seen): (&Connection<'_>, Seen<'_>),
    asked: Asked,
) -> Decision {
    match authenticate(table, destination, connection) {
        Ok(permit) => Question { layers: table.layers_of(destination), connection, seen, asked }.decide(permit),
        Err(denied) => Decision::of(Verdict::Denied(denied)),
    }
}

/// Whether PeerAuthentication lets the peer in.
fn authenticate(table: &PolicyTable, destination: &Workload, connection: &Connection<'_>) -> Result<Permit, Denied> {
    if destination.id.cluster != *table.local() {
        return Err(Denied { rule: Arc::clone(table.built_in()), reason: Reason::NotOurs });
    }
    let (mode, rule) = table.mtls(destination, connection.destination.port());
    if mode == MtlsMode::Strict && connection.peer.identity().is_none() {
        return Err(Denied { rule: Arc::clone(rule), reason: Reason::PlaintextRefused });
    }
    Ok(Permit(()))
}

/// What is known of where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is a pod or a Service of the mesh.
    No,
    /// The mesh does not know the address.
    Yes,
}

/// Whether a workload may open a connection to an address.
///
/// # Errors
/// The mesh does not know the address, and the workload goes nowhere else.
pub fn authorize_outbound(table: &PolicyTable, source: &Workload, beyond: Beyond) -> Result<Permit, Denied> {
    let (mode, rule) = table.outbound(source);
    match (beyond, mode) {
        (Beyond::Yes, OutboundMode::RegistryOnly) => {
            Err(Denied { rule: Arc::clone(rule), reason: Reason::NotInRegistry })
        }
        _ => Ok(Permit(())),
    }
}
