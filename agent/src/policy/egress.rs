//! Where pods may go beyond the mesh: Sidecars by namespace, and what is said for the mesh.

use crate::model::{OutboundMode, Scope, Sidecar, Workload};
use crate::vocab::Namespace;
use imbl::HashMap;
use std::sync::Arc;

/// Every `outboundTrafficPolicy`. A clone shares everything with the original.
#[derive(Clone, Debug)]
pub(super) struct Egress {
    pub(super) default: OutboundMode,
    flag: Arc<str>,
    mesh: Option<Chosen>,
    namespaces: HashMap<Namespace, Arc<Place>>,
}

/// A Sidecar and its name for messages.
#[derive(Clone, Debug)]
struct Chosen {
    sidecar: Arc<Sidecar>,
    label: Arc<str>,
}

#[derive(Debug, Default)]
struct Place {
    whole: Option<Chosen>,
    workloads: Box<[Chosen]>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            default: OutboundMode::default(),
            flag: "--outbound-traffic-policy".into(),
            mesh: None,
            namespaces: HashMap::new(),
        }
    }
}

impl Egress {
    /// Sets the Sidecars of a namespace; those for the mesh stand under `""`. The first by name decides among equals.
    pub(super) fn replace(&mut self, namespace: &Namespace, sidecars: &[Arc<Sidecar>]) {
        let mut all = sidecars.to_vec();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        if namespace.as_str().is_empty() {
            self.mesh = all.first().map(Chosen::new);
            return;
        }
        let selects = |sidecar: &&Arc<Sidecar>| matches!(sidecar.scope, Scope::Workload(_));
        let whole = all.iter().find(|sidecar| !selects(sidecar)).map(Chosen::new);
        let workloads: Box<[_]> = all.iter().filter(selects).map(Chosen::new).collect();
        if whole.is_none() && workloads.is_empty() {
            self.namespaces.remove(namespace);
            return;
        }
        self.namespaces.insert(namespace.clone(), Arc::new(Place { whole, workloads }));
    }

    /// What is in force for a workload, and who says so. One Sidecar is a workload's, as in Istio: its own, its
    /// namespace's or the mesh's. Where that does not say it, the flag does.
    pub(super) fn of(&self, workload: &Workload) -> (OutboundMode, &Arc<str>) {
        let place = self.namespaces.get(&workload.id.pod.namespace);
        let own = place.and_then(|place| place.workloads.iter().find(|one| one.selects(workload)));
        let whole = place.and_then(|place| place.whole.as_ref());
        let chosen = own.or(whole).or(self.mesh.as_ref());
        let said = chosen.and_then(|one| Some((one.sidecar.mode?, &one.label)));
        said.unwrap_or((self.default, &self.flag))
    }
}

impl Chosen {
    fn new(sidecar: &Arc<Sidecar>) -> Self {
        Self { sidecar: Arc::clone(sidecar), label: format!("Sidecar {}", sidecar.id).into() }
    }

    fn selects(&self, workload: &Workload) -> bool {
        let Scope::Workload(labels) = &self.sidecar.scope else { return false };
        labels.iter().all(|(key, value)| workload.label(key) == Some(value))
    }
}
