//! What a lab has made, on disk, so that every command of the lab can start from it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::store::write_whole;
use crate::topology::Topology;

/// Where labs keep their files; below `/run` programs may not be executable.
pub const BASE: &str = "/var/lib/underpass-lab";

/// A lab as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// `lab`, or what a test chose.
    pub name: String,
    /// See [`Plan`].
    pub block: u8,
    /// What was asked for.
    pub topology: Topology,
    /// Whether agents run.
    pub with_agents: bool,
    /// Image prefixes and the commands that stand for them.
    pub images: Vec<(String, String)>,
    /// Set while something is being changed: a record found so belongs to a lab that was killed.
    pub unfinished: bool,
    /// All pods.
    pub pods: Vec<PodRecord>,
    /// All agents.
    pub agents: Vec<AgentRecord>,
    /// Last address handed out, by node number: addresses come back late, as they do in clusters.
    pub last_host: BTreeMap<u8, u8>,
}

/// One pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodRecord {
    /// Cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the Pod object.
    pub name: String,
    /// `Deployment/reviews-v1`; empty for a bare pod.
    pub owner: String,
    /// Of the pod's template: another one means another pod.
    pub hash: String,
    /// Label `app`.
    pub app: String,
    /// Name of its node.
    pub node: String,
    /// Name of its network namespace.
    pub netns: String,
    /// Its addresses.
    pub v4: Ipv4Addr,
    /// Its addresses.
    pub v6: Ipv6Addr,
    /// When it was made, as Kubernetes writes times.
    #[serde(default)]
    pub made: String,
    /// Its processes, one for each container.
    pub containers: Vec<ContainerRecord>,
}

/// One container: a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The container's name.
    pub name: String,
    /// Process.
    pub pid: u32,
    /// What it printed.
    pub log: PathBuf,
    /// The command line.
    pub command: String,
}

/// One agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Cluster.
    pub cluster: String,
    /// Node.
    pub node: String,
    /// The node's network namespace.
    pub netns: String,
    /// The node's address.
    pub address: Ipv4Addr,
    /// Process; 0 when stopped.
    pub pid: u32,
    /// Its log.
    pub log: PathBuf,
    /// Arguments, for a start by hand.
    pub args: Vec<String>,
}

impl Record {
    /// The directory of a lab.
    pub fn dir_of(name: &str) -> PathBuf {
        Path::new(BASE).join(name)
    }

    /// The directory of this lab.
    pub fn dir(&self) -> PathBuf {
        Self::dir_of(&self.name)
    }

    /// The lab's addresses.
    pub fn plan(&self) -> Plan {
        Plan { block: self.block }
    }

    /// The record of a lab, `None` if there is no such lab (or nothing usable of it).
    pub fn load(name: &str) -> Option<Self> {
        let text = fs::read_to_string(Self::dir_of(name).join("state.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the record has no JSON form")?;
        write_whole(&self.dir().join("state.json"), text.as_bytes())
    }

    /// Number of a node (from 1) in the whole lab: part of its addresses.
    pub fn node_number(&self, cluster: &str, node: &str) -> Option<u8> {
        let all = self.topology.clusters.iter().flat_map(|c| c.nodes.iter().map(move |n| (&c.name, &n.name)));
        let position = all.into_iter().position(|(c, n)| c == cluster && n == node)?;
        u8::try_from(position + 1).ok()
    }

    /// Name of a node's network namespace.
    pub fn node_netns(&self, cluster: &str, node: &str) -> String {
        format!("up-{}-node-{cluster}-{node}", self.name)
    }

    /// Name of the network namespace that joins the nodes.
    pub fn fabric_netns(&self) -> String {
        format!("up-{}-fabric", self.name)
    }

    /// The manifests of a cluster.
    pub fn manifests(&self, cluster: &str) -> PathBuf {
        self.dir().join("clusters").join(cluster).join("manifests")
    }

    /// The certificate authority of a cluster.
    pub fn cacerts(&self, cluster: &str) -> PathBuf {
        let own = self.topology.cluster(cluster).and_then(|c| c.cacerts.clone());
        own.unwrap_or_else(|| self.dir().join("clusters").join(cluster).join("cacerts"))
    }

    /// The logs.
    pub fn logs(&self) -> PathBuf {
        self.dir().join("logs")
    }
}
