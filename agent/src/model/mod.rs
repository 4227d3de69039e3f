//! The validated meaning of configuration: no serde, no kube types, no I/O.
//!
//! `source` makes these values from manifests; `route`, `policy` and `balance` compile their tables from them.

pub mod authorization_policy;
pub mod backend_tls_policy;
pub mod change;
pub mod credential;
pub mod destination_rule;
pub mod endpoint;
pub mod extension_provider;
pub mod gateway_route;
pub mod http_rule;
pub mod peer_authentication;
pub mod proxy_tunnel;
pub mod request_authentication;
pub mod retry;
pub mod service;
pub mod sidecar;
pub mod traffic_policy;
pub mod virtual_service;
pub mod workload;

pub use authorization_policy::AuthorizationPolicy;
pub use backend_tls_policy::BackendTlsPolicy;
pub use change::{Change, Finding, Kind, Object, ObjectKey, Severity};
pub use credential::{Credential, CredentialId, CredentialKind};
pub use destination_rule::{DestinationRule, Subset};
pub use endpoint::EndpointSlice;
pub use extension_provider::{Authorizer, ExtensionProviders};
pub use gateway_route::{GatewayRoute, ReferenceGrant, RouteId, RouteKind};
pub use http_rule::{Filters, HttpAction, HttpMatch, HttpRule, StringMatch, WeightedDestination};
pub use peer_authentication::{MtlsMode, PeerAuthentication, Scope};
pub use request_authentication::{JwtRule, RequestAuthentication};
pub use service::{AppProtocol, Distribution, Service, ServiceKind, ServicePort};
pub use sidecar::{OutboundMode, Sidecar};
pub use traffic_policy::{Locality, PortPolicy, TrafficPolicy};
pub use virtual_service::{Destination, TcpMatch, TcpRule, TlsMatch, TlsRule, VirtualService};
pub use workload::{Labels, TunnelProtocol, Workload};

use crate::vocab::Namespace;
use std::fmt;
use std::sync::Arc;

/// Names one configuration object; also the order in which equals are resolved (older wins is not known to files).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// The object's namespace (`""` for cluster-scoped kinds).
    pub namespace: Namespace,
    /// The object's name.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where an object stands, for messages: `file:line` from files, `Kind namespace/name` from a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(pub Arc<str>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
