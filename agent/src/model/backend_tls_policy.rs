//! The Gateway API's BackendTLSPolicy.

use super::gateway_route::Age;
use super::traffic_policy::ClientTls;
use super::{ObjectId, Origin};
use crate::vocab::Hostname;
use std::sync::Arc;

/// TLS to the endpoints of Services of its namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendTlsPolicy {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// Its age: of several for one target the oldest is in force.
    pub age: Age,
    /// What it is for.
    pub targets: Vec<PolicyTarget>,
    /// How the endpoints are spoken to.
    pub tls: ClientTls,
    /// Why it cannot be applied as written, and the reason that its status gives: what it is for is not reached.
    pub broken: Option<(&'static str, Arc<str>)>,
}

/// A Service that a policy is for, or one of its ports.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyTarget {
    /// The Service; none where the reference is to another kind.
    pub host: Option<Hostname>,
    /// The API group as it is written.
    pub group: Arc<str>,
    /// The kind as it is written.
    pub kind: Arc<str>,
    /// The name as it is written.
    pub name: Arc<str>,
    /// The port's name; none is every port.
    pub section_name: Option<Arc<str>>,
    /// Where it stands.
    pub origin: Origin,
}
