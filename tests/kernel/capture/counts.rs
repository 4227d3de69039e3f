//! What an agent holds, counted from outside.

use super::agent::Agent;
use aya::maps::{HashMap, Map, MapData};
use std::fs;
use std::path::Path;
use std::time::Duration;
use underpass_ebpf_shared::limits::{self, maps};
use underpass_ebpf_shared::{Enrolled, Flow, FlowKey, Trusted, Tuple};

/// Pins, descriptors and map entries. A link or program lives by a pin or a descriptor; the kernel's own list of them
/// has other agents' too, and those it is still freeing.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    pub pins: usize,
    pub descriptors: usize,
    pub pods: usize,
    pub flows: usize,
    pub trusted: usize,
}

impl Counts {
    pub fn of(agent: &Agent) -> Self {
        let pins = &agent.config.pin_dir;
        let flows: HashMap<_, FlowKey, Flow> = map(pins, maps::FLOWS).try_into().unwrap();
        let trusted: HashMap<_, Tuple, Trusted> = map(pins, maps::TRUSTED).try_into().unwrap();
        let pods: HashMap<_, u64, Enrolled> = map(pins, maps::PODS).try_into().unwrap();
        Self {
            pins: fs::read_dir(pins).unwrap().count(),
            pods: pods.keys().count(),
            flows: flows.keys().count(),
            trusted: trusted.keys().count(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }

    /// Soon, what is held is what was: sockets take a moment to close.
    pub async fn again(&self, agent: &Agent) {
        for _ in 0..50 {
            if Self::of(agent).is_within(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let now = Self::of(agent);
        assert!(now.is_within(self), "{now:?}, but before {self:?}");
    }

    /// A descriptor that was about to be closed when it was counted may be missing later; none may be more.
    fn is_within(&self, before: &Self) -> bool {
        let same = |counts: &Self| (counts.pins, counts.pods, counts.flows, counts.trusted);
        same(self) == same(before) && self.descriptors <= before.descriptors
    }
}

fn map(pins: &Path, name: &str) -> Map {
    let data = MapData::from_pin(pins.join(format!("maps-{}", limits::LAYOUT)).join(name)).unwrap();
    Map::from_map_data(data).unwrap()
}
