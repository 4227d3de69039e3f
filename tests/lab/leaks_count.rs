//! What an agent holds of the kernel and of the machine, counted from outside.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData};
use underpass_ebpf_shared::limits::{self, maps};
use underpass_ebpf_shared::{Enrolled, Flow, FlowKey, Trusted, Tuple};
use underpass_tests::{Agent, Lab, clean, until};

use crate::scene::SOON;

/// Map entries, pins and descriptors of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Captured namespaces.
    pub pods: usize,
    /// Captured connections.
    pub flows: usize,
    /// Connections of the agent to applications.
    pub trusted: usize,
    /// Pinned links: one for each captured namespace, and those at the root.
    pub pins: usize,
    /// By kind: sockets, files, event descriptors.
    pub descriptors: BTreeMap<String, usize>,
}

impl Held {
    /// Now.
    pub fn of(agent: &Agent) -> Self {
        let at = agent.record.args.iter().position(|arg| arg == "--pin-dir").unwrap() + 1;
        let pins = Path::new(&agent.record.args[at]);
        let flows: HashMap<_, FlowKey, Flow> = map(pins, maps::FLOWS).try_into().unwrap();
        let trusted: HashMap<_, Tuple, Trusted> = map(pins, maps::TRUSTED).try_into().unwrap();
        let pods: HashMap<_, u64, Enrolled> = map(pins, maps::PODS).try_into().unwrap();
        Self {
            pods: pods.keys().count(),
            flows: flows.keys().count(),
            trusted: trusted.keys().count(),
            pins: fs::read_dir(pins).unwrap().count(),
            descriptors: descriptors(agent.record.pid),
        }
    }

    /// Waits until the agent holds no more than it held: sockets take a moment to close.
    pub fn again(&self, agent: &Agent) {
        if until("as before", SOON, || Self::of(agent).fits(self).then_some(())).is_err() {
            assert_eq!(Self::of(agent), *self, "of the agent of {}", agent.record.node);
        }
    }

    /// The same pods and pins, and no more of the rest: warm tunnels end after a while, entries of connections go.
    fn fits(&self, before: &Self) -> bool {
        let more = |(kind, count): (&String, &usize)| *count > before.descriptors.get(kind).copied().unwrap_or(0);
        (self.pods, self.pins) == (before.pods, before.pins)
            && self.flows <= before.flows
            && self.trusted <= before.trusted
            && !self.descriptors.iter().any(more)
    }
}

/// The network namespaces of a lab.
pub fn namespaces(lab: &Lab) -> usize {
    clean::namespaces(&lab.record.name).len()
}

fn map(pins: &Path, name: &str) -> Map {
    let data = MapData::from_pin(pins.join(format!("maps-{}", limits::LAYOUT)).join(name)).unwrap();
    Map::from_map_data(data).unwrap()
}

fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        // `socket:[123]`, `anon_inode:bpf-map`, `net:[456]`, `/a/file`.
        let kind = link.to_string_lossy().split('[').next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}
