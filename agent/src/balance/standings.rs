//! Standings by upstream: a new snapshot finds what the one before it knew.

use super::Standing;
use crate::model::ObjectId;
use crate::vocab::{Hostname, SubsetName};
use parking_lot::Mutex;
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

/// The standing of each upstream that a snapshot or an open connection still has. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Standings(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<UpstreamKey, Weak<Standing>>,
    sweep_at: usize,
}

impl Standings {
    /// The standing of an upstream, the same one for as long as anything holds it.
    pub fn of(&self, key: UpstreamKey) -> Arc<Standing> {
        let mut known = self.0.lock();
        if let Some(standing) = known.by_key.get(&key).and_then(Weak::upgrade) {
            return standing;
        }
        if known.by_key.len() >= known.sweep_at.max(SWEEP_FROM) {
            known.by_key.retain(|_, standing| standing.strong_count() > 0);
            known.sweep_at = known.by_key.len() * 2;
        }
        let standing = Arc::default();
        known.by_key.insert(key, Arc::downgrade(&standing));
        standing
    }

    /// All of them, in order.
    pub fn list(&self) -> Vec<(UpstreamKey, Arc<Standing>)> {
        let known = self.0.lock();
        let standing = known.by_key.iter().filter_map(|(key, standing)| Some((key.clone(), standing.upgrade()?)));
        let mut all: Vec<_> = standing.collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
