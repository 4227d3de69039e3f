//! Istio's DestinationRule.

use super::{Labels, ObjectId, Origin, TrafficPolicy};
use crate::vocab::{Hostname, Namespace, SubsetName};

/// A named part of a Service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// Its name.
    pub name: SubsetName,
    /// Labels that its pods carry.
    pub labels: Labels,
    /// What it says of its own.
    pub policy: TrafficPolicy,
}

/// Subsets of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// The host, fully qualified.
    pub host: Hostname,
    /// Namespaces that see it; empty means all.
    pub export_to: Vec<Namespace>,
    /// Labels of the clients that it is for; empty means all of its namespace's reach.
    pub workload_selector: Labels,
    /// What it says of the whole host.
    pub policy: TrafficPolicy,
    /// The subsets.
    pub subsets: Vec<Subset>,
}
