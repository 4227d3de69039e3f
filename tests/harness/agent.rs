//! The agents of a lab: one process for each node.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::clean::{PINS, agent_name};
use crate::http;
use crate::metrics::Samples;
use crate::process::{self, Start};
use crate::record::{AgentRecord, Record};
use crate::topology::{Cluster, Node};
use crate::wait::until;

/// How long an agent may take from its start to ready.
pub const READY: Duration = Duration::from_secs(30);

/// A running agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Name of the lab.
    pub lab: String,
    /// What is known of it.
    pub record: AgentRecord,
}

/// The record of a node's agent, not started.
///
/// # Errors
/// The node is not part of the lab.
pub fn plan(record: &Record, cluster: &Cluster, node: &Node) -> Result<AgentRecord> {
    let n = record.node_number(&cluster.name, &node.name).context("a node without number")?;
    let address = record.plan().node_v4(n);
    let name = agent_name(&record.name, &cluster.name, &node.name);
    let mut args: Vec<String> = vec!["agent".to_owned()];
    let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    add("--cluster", cluster.name.clone());
    add("--node", node.name.clone());
    add("--manifests", record.manifests(&cluster.name).display().to_string());
    for other in record.topology.clusters.iter().filter(|other| other.name != cluster.name) {
        add("--remote", format!("{}={}", other.name, record.manifests(&other.name).display()));
    }
    add("--cacerts", record.cacerts(&cluster.name).display().to_string());
    add("--trust-domain", cluster.trust_domain.clone());
    if !cluster.network.is_empty() {
        add("--network", cluster.network.clone());
    }
    add("--admin", format!("{address}:15000"));
    add("--metrics", format!("{address}:15020"));
    add("--health", format!("{address}:15021"));
    add("--pin-dir", format!("{PINS}/{name}"));
    add("--cgroup", format!("underpass-lab-{name}"));
    add("--log-format", "json".to_owned());
    args.extend(node.args.iter().cloned());
    Ok(AgentRecord {
        cluster: cluster.name.clone(),
        node: node.name.clone(),
        netns: record.node_netns(&cluster.name, &node.name),
        address,
        pid: 0,
        log: record.logs().join(format!("agent-{}-{}.log", cluster.name, node.name)),
        args,
    })
}

impl Agent {
    /// Starts the process; it is not ready yet. The new pid.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(&self) -> Result<u32> {
        let program = crate::install::built("underpass");
        if !program.exists() {
            bail!("{} is not there: build it first (cargo xtask lab up does)", program.display());
        }
        let mut argv = process::node_entry(&self.record.netns);
        argv.push(program.display().to_string());
        argv.extend(self.record.args.iter().cloned());
        let passed = ["RUST_LOG", "RUST_BACKTRACE", "HOME"].into_iter();
        let env = passed.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
        process::start(&Start { argv, env, lab: &self.lab, log: &self.record.log, cwd: PathBuf::from("/") })
    }

    /// Waits for `/healthz/ready`.
    ///
    /// # Errors
    /// Not ready in time, or ended; the message has the last lines of the log.
    pub fn wait_ready(&self) -> Result<()> {
        let ended = || !process::is_alive(&self.lab, self.record.pid);
        let ready = || self.is_ready().then_some(());
        let outcome = until("agent is ready", READY, || if ended() { Some(false) } else { ready().map(|()| true) });
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the agent of {} ended\n{}\n{}", self.record.node, self.log_tail(20), self.last_words()),
            Err(error) => Err(error.context(self.log_tail(20))),
        }
    }

    /// Whether `/healthz/ready` says 200.
    pub fn is_ready(&self) -> bool {
        http::get(self.address(15021), "/healthz/ready").is_ok_and(|(status, _)| status == 200)
    }

    /// One of its ports.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.record.address), port)
    }

    /// A path of the admin address, as JSON (a string where it is none).
    ///
    /// # Errors
    /// The agent does not answer, or not with 200.
    pub fn admin(&self, path: &str) -> Result<Value> {
        let (status, body) = http::get(self.address(15000), path)?;
        if status != 200 {
            bail!("GET http://{}{path}: {status} {body}", self.address(15000));
        }
        Ok(serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// All metrics now.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn metrics(&self) -> Result<Samples> {
        let (_, body) = http::get(self.address(15020), "/metrics")?;
        Ok(Samples::parse(&body))
    }

    /// The access log: the JSON lines of target `access`, oldest first. The agent gathers lines for 20 ms: those of
    /// before this call are waited for.
    pub fn access_log(&self) -> Vec<Value> {
        std::thread::sleep(Duration::from_millis(60));
        let text = std::fs::read_to_string(&self.record.log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "access").collect()
    }

    /// The last lines of its log, with how to look further.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.record.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        let tail = all[all.len().saturating_sub(lines)..].join("\n");
        let record = &self.record;
        format!(
            "--- {} (cat {}) ---\n{tail}\n--- to look around: nsenter --net=/run/netns/{} ---",
            record.node,
            record.log.display(),
            record.netns
        )
    }

    /// The last lines of its log that are of no connection: why it ended is among them.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.record.log).unwrap_or_default();
        let own: Vec<&str> = text.lines().filter(|line| !line.contains("\"target\":\"access\"")).collect();
        own[own.len().saturating_sub(5)..].join("\n")
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&self) {
        process::signal(&self.lab, &[self.record.pid], Signal::SIGKILL);
        process::all_gone(&self.lab, &[self.record.pid], Duration::from_secs(5));
    }

    /// SIGTERM, and SIGKILL if it is there after that time.
    pub fn stop(&self, patience: Duration) {
        process::end(&self.lab, &[self.record.pid], patience);
    }

    /// Processor time that it has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        process::cpu_seconds(self.record.pid).unwrap_or(0.0)
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        process::resident_bytes(self.record.pid).unwrap_or(0)
    }
}
