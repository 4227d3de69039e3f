//! Which clusters and nodes a lab has: the file behind `lab up --topology`.
//!
//! ```yaml
//! clusters:
//! - name: east
//!   cacerts: ./east-cacerts       # optional; else an intermediate CA is made under the lab's root
//!   network: ""                   # optional; istio's network of the cluster's pods
//!   trustDomain: cluster.local    # optional
//!   nodes:
//!   - name: east-1
//!     tunnel: hbone               # optional: underpass (default) or hbone
//!   - name: east-2
//!     agent: false                # optional: nobody meshes this node
//!     args: ["--when-down", "open"]   # optional: more arguments for the agent
//!     labels: {topology.kubernetes.io/zone: b}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The clusters of a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// In order; the order decides the service ranges.
    pub clusters: Vec<Cluster>,
}

/// One cluster: its nodes and its certificate authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cluster {
    /// DNS label, `east`.
    pub name: String,
    /// A directory in Istio's `cacerts` layout; made by the lab where absent.
    #[serde(default)]
    pub cacerts: Option<PathBuf>,
    /// The agents' `--network`.
    #[serde(default)]
    pub network: String,
    /// The agents' `--trust-domain`.
    #[serde(default = "cluster_local")]
    pub trust_domain: String,
    /// In order; Deployments go round them.
    pub nodes: Vec<Node>,
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// DNS label, unique in the cluster.
    pub name: String,
    /// What the node's pods are annotated with.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
    /// Whether an agent runs here. Pods of a node without one, and without `tunnel`, are not enrolled.
    #[serde(default = "yes")]
    pub agent: bool,
    /// Appended to the agent's command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// On the Node object.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The protocol that a workload is reached by: annotation `underpass.io/tunnel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// Warm sessions on the application's own port.
    Underpass,
    /// Istio's HBONE on 15008.
    Hbone,
}

impl Tunnel {
    /// The annotation's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Underpass => "underpass",
            Self::Hbone => "hbone",
        }
    }
}

impl Default for Topology {
    /// Cluster `east` with two nodes, `west` with one.
    fn default() -> Self {
        Self { clusters: vec![Cluster::named("east", 2), Cluster::named("west", 1)] }
    }
}

impl Topology {
    /// Reads a topology file; relative `cacerts` are relative to it.
    ///
    /// # Errors
    /// Unreadable, unknown fields, no node, names that are no DNS labels or that repeat.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let mut topology = Self::parse(&text).with_context(|| file.display().to_string())?;
        let base = file.parent().unwrap_or(Path::new("."));
        for cluster in &mut topology.clusters {
            if let Some(dir) = &mut cluster.cacerts {
                *dir = base.join(&*dir).canonicalize().with_context(|| dir.display().to_string())?;
            }
        }
        Ok(topology)
    }

    /// As [`Topology::read`], from text.
    ///
    /// # Errors
    /// As [`Topology::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let topology: Self = serde_saphyr::from_str(text)?;
        topology.check()?;
        Ok(topology)
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    fn check(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        ensure!((1..=15).contains(&self.clusters.len()), "a lab has 1 to 15 clusters");
        for cluster in &self.clusters {
            ensure!(is_label(&cluster.name), "cluster {:?} is no DNS label", cluster.name);
            ensure!(seen.insert((&cluster.name, "")), "cluster {} is there twice", cluster.name);
            ensure!(!cluster.nodes.is_empty(), "cluster {} has no node", cluster.name);
            for node in &cluster.nodes {
                ensure!(is_label(&node.name), "node {:?} is no DNS label", node.name);
                ensure!(seen.insert((&cluster.name, &node.name)), "node {} is there twice", node.name);
            }
        }
        ensure!(self.clusters.iter().map(|c| c.nodes.len()).sum::<usize>() <= 200, "more than 200 nodes");
        Ok(())
    }
}

impl Cluster {
    /// A cluster with nodes `NAME-1`, `NAME-2`, ...
    pub fn named(name: &str, nodes: usize) -> Self {
        Self {
            name: name.to_owned(),
            cacerts: None,
            network: String::new(),
            trust_domain: cluster_local(),
            nodes: (1..=nodes).map(|i| Node::named(&format!("{name}-{i}"))).collect(),
        }
    }
}

impl Node {
    /// A meshed node without particulars.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), tunnel: None, agent: true, args: Vec::new(), labels: BTreeMap::new() }
    }
}

/// Whether this is a DNS label (RFC 1123): what names of clusters and nodes have to be.
pub(crate) fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '-')
}

fn cluster_local() -> String {
    "cluster.local".to_owned()
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_read() {
        let text = "clusters:\n- name: east\n  nodes:\n  - {name: a, tunnel: hbone}\n  - {name: b, agent: false}\n";
        let topology = Topology::parse(text).unwrap();
        assert_eq!(topology.clusters[0].nodes[0].tunnel, Some(Tunnel::Hbone));
        assert!(!topology.clusters[0].nodes[1].agent);
        assert_eq!(topology.clusters[0].trust_domain, "cluster.local");
    }

    #[test]
    fn a_typing_error_is_refused() {
        assert!(Topology::parse("clusters:\n- name: east\n  nodes:\n  - {name: a, tunel: hbone}\n").is_err());
        assert!(Topology::parse("clusters:\n- name: east\n  nodes:\n  - {name: a}\n  - {name: a}\n").is_err());
        assert!(Topology::parse("clusters: []\n").is_err());
    }
}
