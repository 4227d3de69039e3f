//! PeerAuthentications compiled by namespace: one hash lookup and the few that select by label.

use super::egress::Egress;
use super::{Layer, Layers, Selected};
use crate::model::{MtlsMode, OutboundMode, PeerAuthentication, Scope, Sidecar, Workload};
use crate::vocab::{ClusterName, Namespace, WorkloadId};
use imbl::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// All policies of one snapshot. A clone shares everything with the original.
#[derive(Clone, Debug)]
pub struct PolicyTable {
    local: ClusterName,
    mesh: Option<Arc<Policy>>,
    namespaces: HashMap<Namespace, Arc<NamespacePolicies>>,
    built_in: Arc<str>,
    authorization: Authorization,
    egress: Egress,
}

/// AuthorizationPolicies, by what they select.
#[derive(Clone, Debug, Default)]
struct Authorization {
    mesh: Option<Arc<Layer>>,
    namespaces: HashMap<Namespace, Arc<Layer>>,
    workloads: HashMap<WorkloadId, Arc<Layer>>,
}

/// One PeerAuthentication and its name for messages.
#[derive(Clone, Debug)]
struct Policy {
    rule: Arc<PeerAuthentication>,
    label: Arc<str>,
}

#[derive(Debug, Default)]
struct NamespacePolicies {
    whole: Option<Policy>,
    workloads: Box<[Policy]>,
}

impl PolicyTable {
    /// A table without policies: everything is PERMISSIVE. Only workloads of the local cluster are for it.
    pub fn new(local: ClusterName) -> Self {
        Self {
            local,
            mesh: None,
            namespaces: HashMap::new(),
            built_in: "default".into(),
            authorization: Authorization::default(),
            egress: Egress::default(),
        }
    }

    /// The cluster that it is for.
    pub fn local(&self) -> &ClusterName {
        &self.local
    }

    pub(super) fn built_in(&self) -> &Arc<str> {
        &self.built_in
    }

    /// Sets the mesh-wide policy; of several the first by name counts (the oldest in Istio; files have no age).
    pub fn replace_mesh(&mut self, rules: &[Arc<PeerAuthentication>]) {
        self.mesh = rules.iter().min_by_key(|rule| &rule.id).map(|rule| Arc::new(Policy::new(rule)));
    }

    /// Sets the policies that stand in a namespace, without mesh-wide ones. Order by name decides among equals.
    pub fn replace_namespace(&mut self, namespace: &Namespace, rules: &[Arc<PeerAuthentication>]) {
        let mut rules = rules.to_vec();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let whole = rules.iter().find(|rule| rule.scope == Scope::Namespace).map(Policy::new);
        let selecting = rules.iter().filter(|rule| matches!(rule.scope, Scope::Workload(_)));
        let workloads: Box<[_]> = selecting.map(Policy::new).collect();
        if whole.is_none() && workloads.is_empty() {
            self.namespaces.remove(namespace);
            return;
        }
        self.namespaces.insert(namespace.clone(), Arc::new(NamespacePolicies { whole, workloads }));
    }

    /// The mode in force on a port of a workload, and the object that says so.
    ///
    /// Istio's precedence: the workload's policy for the port, for the workload, then the namespace's, then the
    /// mesh's; UNSET passes on to the next; PERMISSIVE when none says anything.
    pub fn mtls(&self, workload: &Workload, port: u16) -> (MtlsMode, &Arc<str>) {
        let namespace = self.namespaces.get(&workload.id.pod.namespace);
        let own = namespace.and_then(|policies| policies.workloads.iter().find(|policy| policy.selects(workload)));
        let steps = [
            own.map(|policy| (policy.rule.ports.get(&port).copied().unwrap_or(MtlsMode::Unset), policy)),
            own.map(|policy| (policy.rule.mode, policy)),
            namespace.and_then(|policies| policies.whole.as_ref()).map(|policy| (policy.rule.mode, policy)),
            self.mesh.as_deref().map(|policy| (policy.rule.mode, policy)),
        ];
        let said = steps.into_iter().flatten().find(|(mode, _)| *mode != MtlsMode::Unset);
        said.map_or((MtlsMode::Permissive, &self.built_in), |(mode, policy)| (mode, &policy.label))
    }

    /// Sets what is said of connections that leave the mesh, where no Sidecar says otherwise.
    pub fn set_outbound(&mut self, mode: OutboundMode) {
        self.egress.default = mode;
    }

    /// Sets the Sidecars of a namespace; those for the mesh stand under `""`.
    pub fn replace_sidecars(&mut self, namespace: &Namespace, sidecars: &[Arc<Sidecar>]) {
        self.egress.replace(namespace, sidecars);
    }

    /// What becomes of a workload's connections that leave the mesh, and who says so.
    pub fn outbound(&self, workload: &Workload) -> (OutboundMode, &Arc<str>) {
        self.egress.of(workload)
    }

    /// Sets the AuthorizationPolicies that select the whole mesh.
    pub fn replace_mesh_layer(&mut self, layer: Option<Layer>) {
        self.authorization.mesh = layer.map(Arc::new);
    }

    /// Sets the AuthorizationPolicies that select a whole namespace.
    pub fn replace_namespace_layer(&mut self, namespace: &Namespace, layer: Option<Layer>) {
        replace(&mut self.authorization.namespaces, namespace, layer);
    }

    /// Sets the AuthorizationPolicies that select a workload by its labels or its Services. Says whether they differ from
    /// those before.
    pub fn replace_workload_layer(&mut self, workload: &WorkloadId, layer: Option<Layer>) -> bool {
        replace(&mut self.authorization.workloads, workload, layer)
    }

    /// The AuthorizationPolicies that select a workload, to keep.
    pub fn layers(&self, workload: &Workload) -> Layers {
        Layers(self.layers_of(workload).map(|layer| layer.cloned()))
    }

    /// Whether the same policies are for a workload as in another table. What is compared are five pointers.
    pub fn same_for(&self, other: &Self, workload: &Workload) -> bool {
        let namespace = &workload.id.pod.namespace;
        let namespaces = (self.namespaces.get(namespace), other.namespaces.get(namespace));
        same(self.mesh.as_ref(), other.mesh.as_ref())
            && same(namespaces.0, namespaces.1)
            && self.layers_of(workload).into_iter().zip(other.layers_of(workload)).all(|(one, other)| same(one, other))
    }

    pub(super) fn layers_of(&self, workload: &Workload) -> [Option<&Arc<Layer>>; 3] {
        let Authorization { mesh, namespaces, workloads } = &self.authorization;
        [mesh.as_ref(), namespaces.get(&workload.id.pod.namespace), workloads.get(&workload.id)]
    }

    /// Every AuthorizationPolicy that selects something, once for each of what it selects: everything, a namespace, or a
    /// workload.
    pub fn authorizations(&self) -> impl Iterator<Item = (String, &Selected)> {
        let Authorization { mesh, namespaces, workloads } = &self.authorization;
        let mesh = mesh.iter().map(|layer| ("mesh".to_owned(), layer));
        let namespaces = namespaces.iter().map(|(namespace, layer)| (format!("namespace {namespace}"), layer));
        let workloads = workloads.iter().map(|(workload, layer)| (workload.to_string(), layer));
        let layers = mesh.chain(namespaces).chain(workloads);
        layers.flat_map(|(what, layer)| layer.all().map(move |one| (what.clone(), one)))
    }

    /// Every policy in the table, the mesh-wide one first.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<PeerAuthentication>> {
        let inner = self.namespaces.values().flat_map(|policies| policies.whole.iter().chain(&policies.workloads));
        self.mesh.as_deref().into_iter().chain(inner).map(|policy| &policy.rule)
    }
}

fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// A layer that has the very same policies stays the same one, so that whoever compares sees no change.
fn replace<K: Hash + Eq + Clone>(layers: &mut HashMap<K, Arc<Layer>>, key: &K, layer: Option<Layer>) -> bool {
    match (layer, layers.get(key)) {
        (None, None) => false,
        (Some(new), Some(old)) if old.same(&new) => false,
        (Some(new), _) => {
            layers.insert(key.clone(), Arc::new(new));
            true
        }
        (None, Some(_)) => layers.remove(key).is_some(),
    }
}

impl Policy {
    fn new(rule: &Arc<PeerAuthentication>) -> Self {
        Self { rule: Arc::clone(rule), label: format!("PeerAuthentication {}", rule.id).into() }
    }

    fn selects(&self, workload: &Workload) -> bool {
        let Scope::Workload(labels) = &self.rule.scope else {
            return false;
        };
        labels.iter().all(|(key, value)| workload.label(key) == Some(value))
    }
}
