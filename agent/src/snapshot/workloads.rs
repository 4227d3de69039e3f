//! Pods by name and by node.

use crate::model::Workload;
use crate::vocab::{ClusterName, NodeName, PodId, WorkloadId};
use imbl::{HashMap, OrdMap};
use std::sync::Arc;

/// The pods of all clusters. A clone shares everything with the original.
#[derive(Clone, Debug, Default)]
pub struct Workloads {
    by_id: HashMap<WorkloadId, Arc<Workload>>,
    by_node: HashMap<(ClusterName, NodeName), OrdMap<PodId, Arc<Workload>>>,
}

impl Workloads {
    /// A pod by name.
    pub fn by_id(&self, id: &WorkloadId) -> Option<&Arc<Workload>> {
        self.by_id.get(id)
    }

    /// The pods of a node, by namespace and name.
    pub fn on_node(&self, cluster: &ClusterName, node: &NodeName) -> impl Iterator<Item = &Arc<Workload>> + use<'_> {
        let pods = self.by_node.get(&(cluster.clone(), node.clone()));
        pods.into_iter().flat_map(OrdMap::values)
    }

    /// All pods, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_id.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Adds a pod that is not there.
    pub(super) fn insert(&mut self, workload: Arc<Workload>) {
        let node = (workload.id.cluster.clone(), workload.node.clone());
        self.by_node.entry(node).or_default().insert(workload.id.pod.clone(), Arc::clone(&workload));
        self.by_id.insert(workload.id.clone(), workload);
    }

    /// Takes a pod away.
    pub(super) fn remove(&mut self, workload: &Workload) {
        self.by_id.remove(&workload.id);
        let node = (workload.id.cluster.clone(), workload.node.clone());
        let Some(pods) = self.by_node.get_mut(&node) else {
            return;
        };
        pods.remove(&workload.id.pod);
        if pods.is_empty() {
            self.by_node.remove(&node);
        }
    }
}
