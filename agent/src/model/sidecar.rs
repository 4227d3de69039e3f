//! What is read of Istio's Sidecar: where pods may go beyond the mesh.

use super::{ObjectId, Origin, Scope};

/// What becomes of a connection to an address that nothing in the mesh has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutboundMode {
    /// It goes there as the pod itself would have gone.
    #[default]
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

impl OutboundMode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowAny => "ALLOW_ANY",
            Self::RegistryOnly => "REGISTRY_ONLY",
        }
    }
}

/// One Sidecar of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// Which workloads.
    pub scope: Scope,
    /// Its `outboundTrafficPolicy`; `None`: the mesh's.
    pub mode: Option<OutboundMode>,
}
