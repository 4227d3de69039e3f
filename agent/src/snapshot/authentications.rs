//! RequestAuthentications by where they stand.

use super::Snapshot;
use crate::model::authorization_policy::Selection;
use crate::model::{ObjectId, RequestAuthentication, Workload};
use crate::vocab::Namespace;
use imbl::{HashMap, OrdMap};
use std::net::SocketAddr;
use std::sync::Arc;

type Place = OrdMap<ObjectId, Arc<RequestAuthentication>>;

/// All RequestAuthentications of the local cluster. A clone shares everything with the original.
#[derive(Clone, Debug, Default)]
pub struct Authentications {
    everywhere: Place,
    namespaces: HashMap<Namespace, Place>,
}

impl Authentications {
    pub(super) fn set(&mut self, policy: &Arc<RequestAuthentication>, present: bool) {
        let place = match policy.everywhere {
            true => &mut self.everywhere,
            false => self.namespaces.entry(policy.id.namespace.clone()).or_default(),
        };
        match present {
            true => place.insert(policy.id.clone(), Arc::clone(policy)),
            false => place.remove(&policy.id),
        };
        if self.namespaces.get(&policy.id.namespace).is_some_and(Place::is_empty) {
            self.namespaces.remove(&policy.id.namespace);
        }
    }

    /// Whether they are the very same as others. What is compared are two pointers.
    pub fn same(&self, others: &Self) -> bool {
        self.everywhere.ptr_eq(&others.everywhere) && self.namespaces.ptr_eq(&others.namespaces)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.everywhere.values().chain(self.namespaces.values().flat_map(Place::values))
    }
}

impl Snapshot {
    /// The RequestAuthentications for requests to an address of a workload of the local cluster. All their rules count.
    pub fn authentications_of<'a>(
        &'a self,
        workload: &'a Workload,
        address: SocketAddr,
    ) -> impl Iterator<Item = &'a Arc<RequestAuthentication>> {
        let own = self.authentications.namespaces.get(&workload.id.pod.namespace);
        let all = self.authentications.everywhere.values().chain(own.into_iter().flat_map(Place::values));
        all.filter(move |policy| match &policy.selection {
            Selection::All => true,
            Selection::Labels(labels) => labels.iter().all(|(key, value)| workload.label(key) == Some(value)),
            Selection::Services(hosts) => hosts.iter().any(|host| self.leads_to(host, address)),
            Selection::Nothing => false,
        })
    }
}
