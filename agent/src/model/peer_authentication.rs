//! Istio's PeerAuthentication.

use super::{Labels, ObjectId, Origin};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether plaintext is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MtlsMode {
    /// Inherit from the wider scope.
    Unset,
    /// mTLS is not asked for; plaintext is taken (as PERMISSIVE at an agent, which always accepts tunnels).
    Disable,
    /// Both are taken.
    Permissive,
    /// Only mTLS is taken. Also what an object that could not be read means: it fails closed.
    Strict,
}

/// Which workloads it is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// All: it stands in the root namespace (`istio-system`) without a selector.
    Mesh,
    /// Those of its namespace.
    Namespace,
    /// Those of its namespace that carry these labels.
    Workload(Labels),
}

/// One PeerAuthentication of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAuthentication {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// Which workloads.
    pub scope: Scope,
    /// The mode.
    pub mode: MtlsMode,
    /// Modes by application port; only with a workload scope.
    pub ports: BTreeMap<u16, MtlsMode>,
}
