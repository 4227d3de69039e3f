//! Istio's DestinationRule, the part that is implemented.

use super::{Labels, ObjectId, Origin};
use crate::vocab::{Hostname, Namespace, SubsetName};

/// A named part of a Service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// Its name.
    pub name: SubsetName,
    /// Labels that its pods carry.
    pub labels: Labels,
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
    /// The subsets.
    pub subsets: Vec<Subset>,
}
