//! Raw configuration to `model`: a directory of ordinary manifests for each cluster, watched live.
//!
//! ```text
//! files ── split, yaml ──> document ── one module per kind ──> item ── world ──> Update
//! ```
//! A bad object is refused alone and what was last good stays; a policy that cannot be read denies. Everything that
//! is not in force as written is a `Finding` with `file:line:column`.

mod authorization_policy;
mod credential;
mod decode;
mod destination_rule;
mod document;
mod endpoint_slice;
mod export;
mod files;
mod gateway;
mod header;
mod item;
mod kinds;
mod mesh_config;
mod name;
mod namespace;
mod node;
mod notes;
mod offline;
mod path;
mod peer_authentication;
mod pending;
mod pod;
mod quantity;
mod request_authentication;
mod salvage;
mod schema;
mod service;
mod sidecar;
mod settle;
mod split;
mod virtual_service;
mod watch;
mod world;
mod yaml;

#[cfg(test)]
mod tests;

pub use offline::{Declared, Given, OfflineError, Text, gather, read_given};
pub use service::protocol as service_protocol;
pub use watch::{read_once, watch};

use crate::model::{Change, Finding};
use crate::vocab::{ClusterName, NetworkName, TrustDomain};
use item::Raw;
use name::Lookup;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The manifests of one cluster.
#[derive(Clone, Debug)]
pub struct Root {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its directory, with everything below; it may come into being later.
    pub dir: PathBuf,
}

/// What the file source is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster of this agent.
    pub local: ClusterName,
    /// The manifests of every cluster, the local one among them. Of the same object in two roots of one cluster the
    /// first stands.
    pub roots: Vec<Root>,
    /// The trust domain of every workload.
    pub trust_domain: TrustDomain,
    /// Such as `cluster.local`.
    pub cluster_domain: String,
    /// The network of pods that say none, neither themselves nor by `topology.istio.io/network` on the root namespace
    /// of their cluster.
    pub network: NetworkName,
    /// Where a policy without a selector is for the whole mesh: `istio-system`.
    pub root_namespace: String,
}

impl Config {
    /// What every part of a mesh reads its manifests with: Kubernetes' own cluster domain, Istio's root namespace.
    pub fn of(local: &str, roots: impl IntoIterator<Item = Root>, trust_domain: &str) -> Self {
        Self {
            local: local.into(),
            roots: roots.into_iter().collect(),
            trust_domain: trust_domain.into(),
            cluster_domain: "cluster.local".to_owned(),
            network: "".into(),
            root_namespace: "istio-system".to_owned(),
        }
    }
}

/// One step from a configuration to the next.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// What changed.
    pub changes: Vec<Change>,
    /// Everything that is wrong now, in order of roots and files; objects that stand twice come last.
    pub findings: Vec<Finding>,
    /// How many objects there are now.
    pub counts: Counts,
}

/// How many objects of a kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Read, and as far as they mean anything here in force.
    pub accepted: u64,
    /// Not in force as they are now: last good content may be.
    pub refused: u64,
}

/// How many objects there are, by kind; `unknown` are those of which the kind cannot be told. Kinds that are not read
/// are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the kind's name in manifests.
    pub by_kind: BTreeMap<&'static str, Tally>,
}

impl Counts {
    fn accept(&mut self, kind: &'static str) {
        self.by_kind.entry(kind).or_default().accepted += 1;
    }

    fn refuse(&mut self, kind: &'static str, how_many: u64) {
        self.by_kind.entry(kind).or_default().refused += how_many;
    }

    fn revoke(&mut self, kind: &'static str) {
        let tally = self.by_kind.entry(kind).or_default();
        tally.accepted = tally.accepted.saturating_sub(1);
        tally.refused += 1;
    }

    fn add(&mut self, other: &Self) {
        for (kind, more) in &other.by_kind {
            let tally = self.by_kind.entry(kind).or_default();
            tally.accepted += more.accepted;
            tally.refused += more.refused;
        }
    }

    /// Kinds stay with zeros, so that their metrics go to zero.
    fn subtract(&mut self, other: &Self) {
        for (kind, less) in &other.by_kind {
            let tally = self.by_kind.entry(kind).or_default();
            tally.accepted = tally.accepted.saturating_sub(less.accepted);
            tally.refused = tally.refused.saturating_sub(less.refused);
        }
    }
}

/// Where an object is read from: what its translation depends on.
struct Scope<'a> {
    cluster: &'a ClusterName,
    cluster_domain: &'a str,
    root_namespace: &'a str,
    trust_domain: &'a str,
}

impl Scope<'_> {
    fn lookup<'a>(&'a self, raw: &'a Raw<'_>) -> Lookup<'a> {
        Lookup { namespace: raw.id.namespace.as_str(), cluster_domain: self.cluster_domain }
    }
}
