//! The command line: parsed once, into plain values.

mod ca;
mod identity;

pub use ca::{CaOptions, KubeOptions};
pub use identity::IdentityOptions;

use crate::admin::Surface;
use crate::analyze::{Format, Settings};
use crate::capture::{KubeletCgroup, NoCgroupName};
use crate::explain::Question;
use crate::model::OutboundMode;
use crate::telemetry::{AccessLog, LogFormat};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A service mesh data plane with nothing in the pod.
#[derive(Debug, Parser)]
#[command(name = "underpass", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent of this node: capture, tunnel, route and measure its pods
    Agent(Box<AgentOptions>),
    /// Run a certificate authority for the agents of a cluster's nodes (Istio's protocol)
    Ca(Box<CaOptions>),
    /// Remove what an agent left in the kernel: pins and programs; pods are no longer captured
    Uninstall(UninstallOptions),
    /// Ask a running agent how it is
    Status(AskOptions),
    /// List a running agent's open connections
    Connections(AskOptions),
    /// List the workloads that a running agent knows
    Workloads(AskOptions),
    /// List a running agent's certificates: whose, until when, from where, and how renewal goes
    Certs(AskOptions),
    /// List every port of every service with who governs it, as a pod sees it where one is named
    Routes(RoutesOptions),
    /// Say where a request would go, and why: who governs it, which rule takes it, which policy is in force
    Explain(ExplainOptions),
    /// Check manifests without a cluster: what is unknown, unsupported, dangling, unreachable or contradictory
    Analyze(AnalyzeOptions),
    /// Print the version
    Version,
}

/// What happens to captured pods' new connections while no agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenDown {
    /// They are refused.
    Closed,
    /// They go where they would go without a mesh, unprotected.
    Open,
}

/// Another cluster's manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name.
    pub cluster: String,
    /// The directory.
    pub manifests: PathBuf,
}

fn remote(text: &str) -> Result<Remote, String> {
    match text.split_once('=') {
        Some((cluster, manifests)) if !cluster.is_empty() && !manifests.is_empty() => {
            Ok(Remote { cluster: cluster.to_owned(), manifests: manifests.into() })
        }
        _ => Err("expected CLUSTER=DIR".to_owned()),
    }
}

/// The kubelet's cgroup, where one is named.
pub type Kubelet = Option<KubeletCgroup>;

fn kubelet(text: &str) -> Result<Kubelet, NoCgroupName> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn outbound(text: &str) -> Result<OutboundMode, String> {
    let all = [OutboundMode::AllowAny, OutboundMode::RegistryOnly];
    all.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| "expected ALLOW_ANY or REGISTRY_ONLY".to_owned())
}

/// How an agent runs.
#[derive(Clone, Debug, Args)]
pub struct AgentOptions {
    /// Who it is and what it reads.
    #[command(flatten)]
    pub mesh: MeshOptions,
    /// Where its certificates come from.
    #[command(flatten)]
    pub identity: IdentityOptions,
    /// Where it is asked.
    #[command(flatten)]
    pub listen: ListenOptions,
    /// What it puts into the kernel.
    #[command(flatten)]
    pub capture: CaptureOptions,
    /// What it writes.
    #[command(flatten)]
    pub log: LogOptions,
    /// Data path threads [default: one per core]
    #[arg(long, env = "UNDERPASS_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
}

/// The agent's place in the mesh.
#[derive(Clone, Debug, Args)]
pub struct MeshOptions {
    /// The cluster this node belongs to
    #[arg(long, env = "UNDERPASS_CLUSTER", value_name = "NAME")]
    pub cluster: String,
    /// This node's name, as in the pods' spec.nodeName
    #[arg(long, env = "UNDERPASS_NODE", value_name = "NAME")]
    pub node: String,
    /// This cluster's manifests, watched while the agent runs (recursively: *.yaml, *.yml, *.json)
    #[arg(long, env = "UNDERPASS_MANIFESTS", value_name = "DIR")]
    pub manifests: PathBuf,
    /// Another cluster's manifests; may be given several times (in the environment: separated by commas)
    #[arg(long, env = "UNDERPASS_REMOTE", value_name = "CLUSTER=DIR", value_parser = remote, value_delimiter = ',')]
    pub remote: Vec<Remote>,
    /// What becomes of connections to what the mesh does not know, where no Sidecar says otherwise
    #[arg(long, env = "UNDERPASS_OUTBOUND_TRAFFIC_POLICY", value_name = "MODE", default_value = "ALLOW_ANY", value_parser = outbound)]
    pub outbound_traffic_policy: OutboundMode,
    /// The network this node's pods are on; pods of one network reach each other directly
    #[arg(long, env = "UNDERPASS_NETWORK", value_name = "NAME", default_value = "")]
    pub network: String,
}

/// Listeners for operators.
#[derive(Clone, Debug, Args)]
pub struct ListenOptions {
    /// Dumps and log level
    #[arg(long, env = "UNDERPASS_ADMIN", value_name = "ADDR:PORT", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,
    /// /metrics and /stats/prometheus
    #[arg(long, env = "UNDERPASS_METRICS", value_name = "ADDR:PORT", default_value = "0.0.0.0:15020")]
    pub metrics: SocketAddr,
    /// /healthz/ready
    #[arg(long, env = "UNDERPASS_HEALTH", value_name = "ADDR:PORT", default_value = "0.0.0.0:15021")]
    pub health: SocketAddr,
}

impl ListenOptions {
    /// What is served where.
    pub fn surfaces(&self) -> [(Surface, SocketAddr); 3] {
        [(Surface::Admin, self.admin), (Surface::Metrics, self.metrics), (Surface::Health, self.health)]
    }
}

/// The agent's part of the kernel.
#[derive(Clone, Debug, Args)]
pub struct CaptureOptions {
    /// Where programs and maps are pinned; they outlive the agent
    #[arg(long, env = "UNDERPASS_PIN_DIR", value_name = "DIR", default_value = PIN_DIR)]
    pub pin_dir: PathBuf,
    /// The agent's own cgroup, below the root of cgroup v2: its connections are not captured
    #[arg(long, env = "UNDERPASS_CGROUP", value_name = "NAME", default_value = "underpass")]
    pub cgroup: String,
    /// The kubelet's cgroup, below the root of cgroup v2: its probes reach captured pods whatever their policy; empty:
    /// nobody's do
    #[arg(long, env = "UNDERPASS_KUBELET_CGROUP", value_name = "NAME", default_value = "system.slice/kubelet.service", value_parser = kubelet)]
    pub kubelet_cgroup: Kubelet,
    /// What happens to captured pods' new connections while no agent runs
    #[arg(long, env = "UNDERPASS_WHEN_DOWN", value_enum, default_value_t = WhenDown::Closed)]
    pub when_down: WhenDown,
    /// eBPF programs to load instead of the embedded ones
    #[arg(long, env = "UNDERPASS_EBPF_OBJECT", value_name = "FILE")]
    pub ebpf_object: Option<PathBuf>,
}

const PIN_DIR: &str = "/sys/fs/bpf/underpass";

/// What the agent writes.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// How log lines look, the agent's own and the access log's
    #[arg(long, env = "UNDERPASS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// A level, or a filter such as `info,underpass::tunnel=trace` [default: RUST_LOG, else info,notify=warn]
    #[arg(long, env = "UNDERPASS_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,
    /// Where access log lines go: a file, `-` for standard error, or `off`
    #[arg(long, env = "UNDERPASS_ACCESS_LOG", value_name = "FILE|-|off", default_value = "-")]
    pub access_log: AccessLog,
}

/// notify says at `info` what is no news: a watch of a directory that is gone cannot be removed.
const DEFAULT_LEVEL: &str = "info,notify=warn";

impl LogOptions {
    /// The filter: the flag, else `RUST_LOG`, else `info` for all but the noisy.
    pub fn level(&self) -> String {
        let given = self.log_level.clone().or_else(|| std::env::var("RUST_LOG").ok());
        given.filter(|level| !level.is_empty()).unwrap_or_else(|| DEFAULT_LEVEL.to_owned())
    }
}

/// What is removed.
#[derive(Clone, Debug, Args)]
pub struct UninstallOptions {
    /// Where the agent pinned its programs and maps
    #[arg(long, env = "UNDERPASS_PIN_DIR", value_name = "DIR", default_value = PIN_DIR)]
    pub pin_dir: PathBuf,
    /// The agent's cgroup
    #[arg(long, env = "UNDERPASS_CGROUP", value_name = "NAME", default_value = "underpass")]
    pub cgroup: String,
}

/// How a running agent is asked.
#[derive(Clone, Debug, Args)]
pub struct AskOptions {
    /// The agent's admin address
    #[arg(long, env = "UNDERPASS_ADMIN", value_name = "ADDR:PORT", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,
    /// How to print the answer
    #[arg(long, short, env = "UNDERPASS_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Manifests to read in place of a running agent's.
#[derive(Clone, Debug, Args)]
pub struct FilesOptions {
    /// Manifests (files, directories, - for standard input) to answer from instead of asking an agent; pods and
    /// endpoints that they lack are made up of Deployments. May be given several times
    #[arg(long, env = "UNDERPASS_FILES", value_name = "FILE|DIR|-", value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// With --files: the domain of the cluster's Services
    #[arg(long, env = "UNDERPASS_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// With --files: the trust domain of the mesh's identities
    #[arg(long, env = "UNDERPASS_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
}

impl FilesOptions {
    /// What the manifests are read with.
    pub fn settings(&self) -> Settings {
        Settings {
            cluster_domain: self.cluster_domain.clone(),
            trust_domain: self.trust_domain.clone(),
            ignore: Vec::new(),
        }
    }
}

/// Whose view of the routes is listed.
#[derive(Clone, Debug, Args)]
pub struct RoutesOptions {
    /// The client, [CLUSTER/]NAMESPACE/NAME of a pod or of what owns it [default: any]
    #[arg(value_name = "POD")]
    pub source: Option<String>,
    /// In place of an agent.
    #[command(flatten)]
    pub from: FilesOptions,
    /// Which agent.
    #[command(flatten)]
    pub ask: AskOptions,
}

/// Which request is explained.
#[derive(Clone, Debug, Args)]
pub struct ExplainOptions {
    /// The client, [CLUSTER/]NAMESPACE/NAME of a pod or of what owns it
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// The service as the client would call it, maybe with a port
    #[arg(value_name = "DESTINATION[:PORT]")]
    pub destination: String,
    /// The request's method [default: GET]
    #[arg(value_name = "METHOD")]
    pub method: Option<String>,
    /// The request's path with its query [default: /]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// A header of the request, `name: value`; may be given several times
    #[arg(long, short = 'H', env = "UNDERPASS_HEADER", value_name = "HEADER")]
    pub header: Vec<String>,
    /// In place of an agent.
    #[command(flatten)]
    pub from: FilesOptions,
    /// Which agent.
    #[command(flatten)]
    pub ask: AskOptions,
}

impl ExplainOptions {
    /// What is asked.
    pub fn question(&self) -> Question {
        Question {
            source: self.source.clone(),
            destination: self.destination.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.header.clone(),
        }
    }
}

/// Which manifests are checked, and how strictly.
#[derive(Clone, Debug, Args)]
pub struct AnalyzeOptions {
    /// Manifests: files, directories with everything below (*.yaml, *.yml, *.json), or - for standard input
    #[arg(value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// The domain of the cluster's Services
    #[arg(long, env = "UNDERPASS_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The trust domain of the mesh's identities
    #[arg(long, env = "UNDERPASS_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// A code that is not reported; may be given several times (in the environment: separated by commas)
    #[arg(long, env = "UNDERPASS_IGNORE", value_name = "CODE", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// From which severity on the exit code is 1
    #[arg(long, env = "UNDERPASS_FAIL_ON", value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,
    /// How to print what was found
    #[arg(long, short, env = "UNDERPASS_OUTPUT", value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

impl AnalyzeOptions {
    /// What the manifests are read with.
    pub fn settings(&self) -> Settings {
        Settings {
            cluster_domain: self.cluster_domain.clone(),
            trust_domain: self.trust_domain.clone(),
            ignore: self.ignore.clone(),
        }
    }
}

/// From which severity on a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Something is not in force.
    Error,
    /// Something works otherwise than written.
    Warning,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns, for people.
    Table,
    /// The agent's own answer.
    Json,
}

#[cfg(test)]
mod tests;
