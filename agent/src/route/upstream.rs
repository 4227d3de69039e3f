//! What a routing decision ends in: a port of a service, or a subset of it, with its endpoints.

use crate::balance::Group;
use crate::model::AppProtocol;
use crate::vocab::{Hostname, Namespace, SubsetName};
use serde::Serialize;
use std::sync::Arc;

/// One port of a service, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceRef {
    /// The service's host name.
    pub host: Hostname,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
    /// The service port, not the endpoints'.
    pub port: u16,
}

/// Where a connection or request goes; `balance::pick` takes one endpoint of the group.
#[derive(Debug)]
pub struct Upstream {
    /// The service port.
    pub service: Arc<ServiceRef>,
    /// The subset, where a rule named one.
    pub subset: Option<SubsetName>,
    /// What the service port speaks.
    pub protocol: AppProtocol,
    /// The endpoints.
    pub group: Group,
}
