//! The Gateway API's routes: which there are, what depends on which, and what becomes of them at each Service.

mod attach;
mod displaced;
mod merge;
mod references;
pub(super) mod status;
mod tls;

pub(super) use attach::compile;
pub(super) use displaced::displaced;
pub(super) use references::World;
pub(super) use tls::{in_force, policy_status};

use super::index::{Dirty, Index};
use super::many::Many;
use crate::model::{BackendTlsPolicy, GatewayRoute, ObjectId, ReferenceGrant, RouteId};
use crate::vocab::{Hostname, Namespace};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Routes and what goes with them, found by what depends on them.
#[derive(Default)]
pub(super) struct RouteIndex {
    /// By the Service that they are attached to.
    pub(super) attached: Many<Hostname, RouteId, Arc<GatewayRoute>>,
    /// Services with routes that lead to a host.
    leading: Many<Hostname, (Hostname, RouteId), ()>,
    /// Services with routes that lead into a namespace.
    crossing: Many<Namespace, (Hostname, RouteId), ()>,
    /// By the namespace that they open.
    grants: Many<Namespace, ObjectId, Arc<ReferenceGrant>>,
    /// By the Service that they are for.
    tls: Many<Hostname, ObjectId, Arc<BackendTlsPolicy>>,
}

impl RouteIndex {
    /// A route came or went.
    pub(super) fn route(&mut self, route: &Arc<GatewayRoute>, present: bool, dirty: &mut Dirty) {
        dirty.routes.insert(route.id.clone(), present.then(|| Arc::clone(route)));
        for parent in route.services() {
            dirty.attached.insert(parent.clone());
            self.attached.set(parent, &route.id, present.then(|| Arc::clone(route)));
            let item = (parent.clone(), route.id.clone());
            for to in route.destinations() {
                self.leading.set(&to.host, &item, present.then_some(()));
                let (_, namespace) = references::service(&to.host);
                self.crossing.set(&namespace.into(), &item, present.then_some(()));
            }
        }
    }

    /// A grant came or went: what leads into its namespace may have become valid, or no longer be.
    pub(super) fn grant(&mut self, grant: &Arc<ReferenceGrant>, present: bool, dirty: &mut Dirty) {
        let namespace = &grant.id.namespace;
        self.grants.set(namespace, &grant.id, present.then(|| Arc::clone(grant)));
        dirty.attached.extend(self.crossing.iter(namespace).map(|((parent, _), ())| parent.clone()));
    }

    /// A policy came or went.
    pub(super) fn tls(&mut self, policy: &Arc<BackendTlsPolicy>, present: bool, dirty: &mut Dirty) {
        dirty.tls.insert(policy.id.clone(), present.then(|| Arc::clone(policy)));
        for host in policy.targets.iter().filter_map(|target| target.host.as_ref()) {
            self.tls.set(host, &policy.id, present.then(|| Arc::clone(policy)));
            dirty.backends.insert(host.clone());
        }
    }

    /// The Services whose routes have to be compiled again where this host's endpoints changed.
    pub(super) fn concerned<'a>(&'a self, host: &'a Hostname) -> impl Iterator<Item = Hostname> + 'a {
        let own = self.attached.values(host).take(1).map(|_| host.clone());
        own.chain(self.leading.iter(host).map(|((parent, _), ())| parent.clone()))
    }

    /// Whether a grant lets a route refer to a Service.
    fn permits(&self, route: &RouteId, namespace: &str, service: &str) -> bool {
        self.grants.values(&namespace.into()).any(|grant| grant.permits(route, service))
    }
}

/// The policies whose status may have become another one: those that changed, and those for hosts that did.
pub(super) fn concerned_policies(index: &Index, dirty: &Dirty) -> BTreeMap<ObjectId, Option<Arc<BackendTlsPolicy>>> {
    let mut found = BTreeMap::new();
    for host in &dirty.backends {
        found.extend(index.routes.tls.iter(host).map(|(id, policy)| (id.clone(), Some(Arc::clone(policy)))));
    }
    found.extend(dirty.tls.clone());
    found
}
