//! One immutable generation of everything that decisions read.

mod aliases;
pub mod assembler;
pub mod authentications;
mod authorization;
mod checks;
mod delegates;
pub mod dump;
mod findings;
mod headless;
mod index;
mod many;
pub mod origination;
pub mod publish;
mod routes;
pub mod workloads;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

pub use assembler::{Assembler, Work};
pub use authentications::Authentications;
pub use origination::Credentials;
pub use publish::{Closed, Publisher, Reader};
pub use routes::status::{Condition, Object, Standing, Statuses};
pub use workloads::Workloads;

use crate::model::{Authorizer, ExtensionProviders, Workload};
use crate::policy::PolicyTable;
use crate::route::RouteTable;
use crate::vocab::{ClusterName, Hostname, NodeName, WorkloadId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One generation of configuration. It shares with the one before all that did not change.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up from 0, the empty one.
    pub generation: u64,
    /// The pods.
    pub workloads: Workloads,
    /// The routes.
    pub routes: RouteTable,
    /// The policies.
    pub policies: PolicyTable,
    /// Which tokens requests may carry.
    pub authentications: Authentications,
    /// What the status of the Gateway API's objects says.
    pub statuses: Statuses,
    /// Keys and certificates that rules name. Never shown.
    pub credentials: Credentials,
    /// The external authorizers.
    pub providers: Option<Arc<ExtensionProviders>>,
}

impl Snapshot {
    /// Nothing configured.
    pub fn empty(local: ClusterName) -> Self {
        Self {
            generation: 0,
            workloads: Workloads::default(),
            routes: RouteTable::default(),
            policies: PolicyTable::new(local),
            authentications: Authentications::default(),
            statuses: Statuses::default(),
            credentials: Credentials::default(),
            providers: None,
        }
    }

    /// The pod that has an address.
    pub fn workload_at(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.routes.pods.get(&ip).map(|pod| &pod.workload)
    }

    /// A pod by name.
    pub fn workload(&self, id: &WorkloadId) -> Option<&Arc<Workload>> {
        self.workloads.by_id(id)
    }

    /// An external authorizer by its name.
    pub fn authorizer(&self, name: &str) -> Option<&Arc<Authorizer>> {
        self.providers.as_ref()?.authorizers.get(name)
    }

    /// Whether a Service leads to an address.
    pub fn leads_to(&self, host: &Hostname, address: SocketAddr) -> bool {
        let ports = self.routes.hosts.get(host).into_iter().flat_map(|one| one.backends().ports());
        ports.into_iter().any(|port| port.whole.group.ready().iter().any(|one| one.address == address))
    }

    /// The pods of a node, by namespace and name.
    pub fn local_pods(&self, cluster: &ClusterName, node: &NodeName) -> impl Iterator<Item = &Arc<Workload>> + use<'_> {
        self.workloads.on_node(cluster, node)
    }
}
