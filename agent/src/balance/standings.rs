//! Standings by upstream: a new snapshot finds what the one before it knew.

use super::Standing;
use crate::model::ObjectId;
use crate::vocab::{Hostname, SubsetName};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Below this many upstreams, forgotten ones are not looked for.
const SWEEP_FROM: usize = 1024;

/// Names an upstream over all snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamKey {
    /// The service.
    pub host: Hostname,
    /// The service port.
    pub port: u16,
    /// The subset.
    pub subset: Option<SubsetName>,
    /// The DestinationRule whose policy is in force: two of them judge the same endpoints each in its own way.
    pub rule: Option<ObjectId>,
}

/// The standing of each upstream that a snapshot or an open connection still has.
#[derive(Debug, Default)]
pub struct Standings {
    by_key: HashMap<UpstreamKey, Weak<Standing>>,
    sweep_at: usize,
}

impl Standings {
    /// The standing of an upstream, the same one for as long as anything holds it.
    pub fn of(&mut self, key: UpstreamKey) -> Arc<Standing> {
        if let Some(standing) = self.by_key.get(&key).and_then(Weak::upgrade) {
            return standing;
        }
        if self.by_key.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.by_key.retain(|_, standing| standing.strong_count() > 0);
            self.sweep_at = self.by_key.len() * 2;
        }
        let standing = Arc::default();
        self.by_key.insert(key, Arc::downgrade(&standing));
        standing
    }
}
