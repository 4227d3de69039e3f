//! AuthorizationPolicies by what they select, and the layers that are made of them: one for the mesh, one for each
//! namespace, one for each workload that is selected by its labels or its Services.

use super::index::Index;
use super::many::Many;
use crate::model::authorization_policy::Selection;
use crate::model::{AuthorizationPolicy, Labels, ObjectId, Workload};
use crate::policy::{Compiled, Layer, PolicyTable, Selected};
use crate::vocab::{Hostname, Namespace, WorkloadId};
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};
use std::net::IpAddr;
use std::sync::Arc;

/// Where policies of the root namespace are.
const EVERYWHERE: &str = "";

/// All AuthorizationPolicies, and the workloads that they are for.
#[derive(Default)]
pub(super) struct Authorizations {
    places: HashMap<Namespace, Place>,
    targets: Many<Hostname, ObjectId, Arc<Compiled>>,
    /// Of the local cluster, by namespace.
    workloads: Many<Namespace, WorkloadId, ()>,
    dirty: Dirty,
}

type Policies = BTreeMap<ObjectId, Arc<Compiled>>;

/// The policies of a namespace.
#[derive(Default)]
struct Place {
    whole: Policies,
    /// Each under one of its labels, one that few others have: a workload finds them by its own labels.
    labelled: HashMap<(Arc<str>, Arc<str>), Policies>,
}

/// What is to be made again.
#[derive(Default)]
struct Dirty {
    /// The layer of a namespace, or of the mesh.
    whole: BTreeSet<Namespace>,
    /// The layers of all workloads of a namespace, or of the mesh.
    selecting: BTreeSet<Namespace>,
    workloads: BTreeSet<WorkloadId>,
    /// Those of workloads that have these addresses.
    addresses: BTreeSet<IpAddr>,
    /// Those of the endpoints of these Services.
    hosts: BTreeSet<Hostname>,
}

impl Authorizations {
    /// A policy of the local cluster came, or went.
    pub(super) fn policy(&mut self, policy: &Arc<AuthorizationPolicy>, present: bool) {
        let namespace = if policy.everywhere { EVERYWHERE.into() } else { policy.id.namespace.clone() };
        let compiled = present.then(|| Arc::new(Compiled::new(Arc::clone(policy))));
        match &policy.selection {
            Selection::All => {
                set(&mut self.places.entry(namespace.clone()).or_default().whole, &policy.id, compiled);
                self.dirty.whole.insert(namespace);
            }
            Selection::Labels(labels) => {
                self.places.entry(namespace.clone()).or_default().labelled(labels, &policy.id, compiled);
                self.dirty.selecting.insert(namespace);
            }
            Selection::Services(hosts) => {
                for host in hosts {
                    self.targets.set(host, &policy.id, compiled.clone());
                    self.dirty.hosts.insert(host.clone());
                }
            }
            Selection::Nothing => {}
        }
    }

    /// A workload of the local cluster came, or went.
    pub(super) fn workload(&mut self, workload: &Workload, present: bool) {
        self.workloads.set(&workload.id.pod.namespace, &workload.id, present.then_some(()));
        self.dirty.workloads.insert(workload.id.clone());
    }

    /// An endpoint of a Service came, or went.
    pub(super) fn endpoint(&mut self, service: &Hostname, address: IpAddr) {
        if self.targets.values(service).next().is_some() {
            self.dirty.addresses.insert(address);
        }
    }

    /// A policy's Services that there are policies for.
    pub(super) fn is_target(&self, host: &Hostname) -> bool {
        self.targets.values(host).next().is_some()
    }
}

impl Place {
    fn labelled(&mut self, labels: &Labels, id: &ObjectId, compiled: Option<Arc<Compiled>>) {
        let pairs = || labels.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
        let size = |pair: &(Arc<str>, Arc<str>)| self.labelled.get(pair).map_or(0, BTreeMap::len);
        let Some(compiled) = compiled else {
            return pairs().for_each(|pair| self.forget(pair, id));
        };
        if let Some(rarest) = pairs().min_by_key(size) {
            self.labelled.entry(rarest).or_default().insert(id.clone(), compiled);
        }
    }

    fn forget(&mut self, pair: (Arc<str>, Arc<str>), id: &ObjectId) {
        if let Entry::Occupied(mut entry) = self.labelled.entry(pair) {
            entry.get_mut().remove(id);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// The policies that select a workload by its labels.
    fn selecting<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Arc<Compiled>> {
        let found = workload.labels.iter().filter_map(|(key, value)| {
            let pair = (Arc::clone(key), Arc::clone(value));
            self.labelled.get(&pair)
        });
        found.flat_map(BTreeMap::values).filter(|compiled| selects(&compiled.policy, workload))
    }
}

fn selects(policy: &AuthorizationPolicy, workload: &Workload) -> bool {
    let Selection::Labels(labels) = &policy.selection else { return false };
    labels.iter().all(|(key, value)| workload.label(key) == Some(value))
}

fn set(policies: &mut Policies, id: &ObjectId, compiled: Option<Arc<Compiled>>) {
    match compiled {
        Some(compiled) => policies.insert(id.clone(), compiled),
        None => policies.remove(id),
    };
}

/// Makes the layers that depend on what changed, and returns how many differ from those before.
pub(super) fn compile(index: &mut Index, table: &mut PolicyTable) -> usize {
    let dirty = std::mem::take(&mut index.authorizations.dirty);
    let all = &index.authorizations;
    let mut made = dirty.whole.len();
    for namespace in &dirty.whole {
        let whole = all.places.get(namespace).into_iter().flat_map(|place| place.whole.values());
        let layer = Layer::new(whole.map(|one| Selected { compiled: Arc::clone(one), ports: None }).collect());
        match namespace.as_str() == EVERYWHERE {
            true => table.replace_mesh_layer(layer),
            false => table.replace_namespace_layer(namespace, layer),
        }
    }
    for id in concerned(index, &dirty) {
        let layer = index.workloads.by_id(&id).and_then(|workload| own_layer(index, workload));
        made += usize::from(table.replace_workload_layer(&id, layer));
    }
    made
}

/// The workloads whose own layer may be another one.
fn concerned(index: &Index, dirty: &Dirty) -> BTreeSet<WorkloadId> {
    let all = &index.authorizations;
    let everyone = dirty.selecting.contains(EVERYWHERE).then(|| all.workloads.keys().cloned());
    let namespaces: BTreeSet<Namespace> =
        dirty.selecting.iter().cloned().chain(everyone.into_iter().flatten()).collect();
    let of_namespaces = namespaces.iter().flat_map(|namespace| all.workloads.iter(namespace).map(|(id, _)| id));
    let slices = dirty.hosts.iter().flat_map(|host| index.slices.values(host));
    let listed: BTreeSet<IpAddr> = slices.flat_map(|slice| slice.addresses.iter().map(|one| one.ip)).collect();
    let at = listed.iter().chain(&dirty.addresses).flat_map(|ip| index.claims.iter(ip).map(|(id, _)| id));
    let at = at.filter(|id| id.cluster == index.local);
    of_namespaces.chain(at).chain(&dirty.workloads).cloned().collect()
}

fn own_layer(index: &Index, workload: &Workload) -> Option<Layer> {
    let all = &index.authorizations;
    let places = [workload.id.pod.namespace.as_str(), EVERYWHERE].map(|namespace| all.places.get(namespace));
    let labelled = places.into_iter().flatten().flat_map(|place| place.selecting(workload));
    let labelled = labelled.map(|one| (&one.policy.id, Selected { compiled: Arc::clone(one), ports: None }));
    let mut found: BTreeMap<&ObjectId, Selected> = labelled.collect();
    for (host, ports) in services(index, workload) {
        for compiled in all.targets.values(host) {
            let new = || Selected { compiled: Arc::clone(compiled), ports: Some(Box::default()) };
            let one = found.entry(&compiled.policy.id).or_insert_with(new);
            let both: BTreeSet<u16> = one.ports.iter().flatten().chain(&ports).copied().collect();
            one.ports = Some(both.into_iter().collect());
        }
    }
    Layer::new(found.into_values().collect())
}

/// The Services with policies of which a workload is an endpoint, and at which of its ports.
fn services<'a>(index: &'a Index, workload: &Workload) -> BTreeMap<&'a Hostname, BTreeSet<u16>> {
    let mut found: BTreeMap<&Hostname, BTreeSet<u16>> = BTreeMap::new();
    for ip in &workload.addresses {
        for host in index.listed.values(ip).filter(|host| index.authorizations.is_target(host)) {
            let slices = index.slices.values(host).filter(|slice| slice.addresses.iter().any(|one| one.ip == *ip));
            let ports = slices.flat_map(|slice| slice.ports.iter().map(|port| port.number));
            found.entry(host).or_default().extend(ports);
        }
    }
    found
}
