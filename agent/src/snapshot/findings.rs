//! What is wrong with the configuration now, kept by what it was found at.

use crate::model::{Finding, ObjectId};
use crate::vocab::{Hostname, Namespace};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What findings are recomputed with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A pod's address.
    Pod(IpAddr),
    /// A service's virtual address.
    Vip(IpAddr),
    /// A service as its clients see it.
    Host(Hostname),
    /// The destinations of a VirtualService.
    Destinations(ObjectId),
    /// A VirtualService that delegates, and what it delegates to.
    Root(ObjectId),
    /// A VirtualService that is delegated to.
    Delegate(ObjectId),
    /// The VirtualServices of a host pattern.
    VirtualServices(Hostname),
    /// The DestinationRules of a host pattern.
    DestinationRules(Hostname),
    /// What a DestinationRule names for its TLS.
    Origination(ObjectId),
    /// Whom an AuthorizationPolicy has asked.
    Asking(ObjectId),
    /// The PeerAuthentications of a namespace; the mesh-wide ones under `""`.
    Policies(Namespace),
    /// The routes of the Gateway API of a Service.
    Routes(Hostname),
    /// A BackendTLSPolicy.
    BackendTls(ObjectId),
}

/// All findings.
#[derive(Debug, Default)]
pub(super) struct Findings(BTreeMap<Place, Vec<Finding>>);

impl Findings {
    /// Replaces what was found at a place.
    pub(super) fn set(&mut self, place: Place, found: Vec<Finding>) {
        if found.is_empty() {
            self.0.remove(&place);
        } else {
            self.0.insert(place, found);
        }
    }

    /// The whole list, sorted, each once.
    pub(super) fn list(&self) -> Vec<Finding> {
        let mut all: Vec<_> = self.0.values().flatten().cloned().collect();
        all.sort_by(|a, b| (&a.at, a).cmp(&(&b.at, b)));
        all.dedup();
        all
    }
}
