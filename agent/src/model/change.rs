//! What `source` says and `snapshot` assembles: one object came, changed or went.

use super::{
    AuthorizationPolicy, BackendTlsPolicy, Credential, CredentialKind, DestinationRule, EndpointSlice,
    ExtensionProviders, GatewayRoute, ObjectId, PeerAuthentication, ReferenceGrant, RequestAuthentication, RouteKind,
    Service, Sidecar, VirtualService, Workload,
};
use crate::vocab::ClusterName;

/// The kinds of objects that the data path reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A pod.
    Workload,
    /// A Service.
    Service,
    /// An EndpointSlice.
    EndpointSlice,
    /// A VirtualService.
    VirtualService,
    /// A DestinationRule.
    DestinationRule,
    /// A PeerAuthentication.
    PeerAuthentication,
    /// An AuthorizationPolicy.
    AuthorizationPolicy,
    /// A RequestAuthentication.
    RequestAuthentication,
    /// A Sidecar.
    Sidecar,
    /// A route of the Gateway API.
    Route(RouteKind),
    /// A ReferenceGrant.
    ReferenceGrant,
    /// A BackendTLSPolicy.
    BackendTlsPolicy,
    /// A Secret or ConfigMap.
    Credential(CredentialKind),
}

/// Names one object of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The cluster it is from.
    pub cluster: ClusterName,
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub id: ObjectId,
}

/// An object's validated content.
#[allow(clippy::large_enum_variant)] // It lives briefly: the snapshot keeps each kind behind a pointer of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A pod.
    Workload(Workload),
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A VirtualService.
    VirtualService(VirtualService),
    /// A DestinationRule.
    DestinationRule(DestinationRule),
    /// A PeerAuthentication.
    PeerAuthentication(PeerAuthentication),
    /// An AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy),
    /// A RequestAuthentication.
    RequestAuthentication(RequestAuthentication),
    /// A Sidecar.
    Sidecar(Sidecar),
    /// A route of the Gateway API.
    GatewayRoute(GatewayRoute),
    /// A ReferenceGrant.
    ReferenceGrant(ReferenceGrant),
    /// A BackendTLSPolicy.
    BackendTlsPolicy(BackendTlsPolicy),
    /// A Secret or ConfigMap with keys or certificates.
    Credential(Credential),
    /// The ConfigMap that is the mesh's own.
    ExtensionProviders(ExtensionProviders),
}

/// One step from a configuration to the next.
#[allow(clippy::large_enum_variant)] // Changes live briefly, and most of them bring an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is new, or has this content now.
    Upsert(ObjectKey, Object),
    /// The object is gone.
    Remove(ObjectKey),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, but not as written: a field that is not supported and has a neutral effect.
    Warning,
    /// The object, or a rule of it, is not in force.
    Error,
}

/// Something about the configuration that its author should know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A stable, short word for metrics and filters, such as `syntax`, `unknown-field`, `missing-subset`.
    pub code: &'static str,
    /// `file:line:column`, or `Kind namespace/name`.
    pub at: String,
    /// What is wrong and what to do.
    pub message: String,
}
