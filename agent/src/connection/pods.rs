//! The captured pods of this node, by name: for what the agent does on behalf of a pod whose connection it is not.

use crate::capture::Pod;
use crate::vocab::PodId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// All of them. Capture owns them: what it let go is not there any more.
#[derive(Debug, Default)]
pub struct Pods(Mutex<HashMap<PodId, Weak<Pod>>>);

impl Pods {
    /// Adds one, in place of what had its name before.
    pub fn add(&self, pod: &Arc<Pod>) {
        let mut pods = self.0.lock();
        pods.retain(|_, pod| pod.strong_count() > 0);
        pods.insert(pod.id().clone(), Arc::downgrade(pod));
    }

    /// The one of this name.
    pub fn get(&self, id: &PodId) -> Option<Arc<Pod>> {
        let found = self.0.lock().get(id)?.upgrade()?;
        (!found.gone().is_cancelled()).then_some(found)
    }
}
