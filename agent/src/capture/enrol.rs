//! Which pods are captured: makes what is match what is wanted, again and again.

use super::cgroup::{AgentCgroup, CgroupError};
use super::kubelet::{Kubelet, KubeletCgroup};
use super::load::{self, LoadError, LoadOptions, Programs};
use super::unmanaged::{self, Flow};
use super::{Accept, Netns, Pod, listen, pods, source_address};
use crate::vocab::PodId;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What happens to a pod's new connections while no agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// They are refused.
    Closed,
    /// They go their way without the mesh.
    Open,
}

/// How to capture.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where maps and links are pinned, below a bpffs.
    pub pin_dir: PathBuf,
    /// The agent's cgroup, below the v2 root.
    pub cgroup: String,
    /// The kubelet's: its probes reach captured pods whatever their policy. `None`: nobody's do.
    pub kubelet: Option<KubeletCgroup>,
    /// While no agent runs.
    pub when_down: WhenDown,
    /// An object file instead of the embedded one.
    pub object: Option<PathBuf>,
}

/// A pod that is to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPod {
    /// Namespace and name.
    pub id: PodId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Capture cannot start.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The agent's cgroup.
    #[error("{0}")]
    Cgroup(#[from] CgroupError),
    /// The programs.
    #[error("{0}")]
    Load(#[from] LoadError),
}

/// A pod in the dump: captured, or why not.
#[derive(Clone, Debug, Serialize)]
pub struct PodStatus {
    /// Namespace and name.
    pub pod: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether its connections come here.
    pub captured: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kernel's number of its network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns_cookie: Option<u64>,
    /// Connections that it had before and still has: local and remote end.
    pub unmanaged: Vec<Flow>,
}

/// The running capture of a node.
pub struct Capture {
    programs: Arc<Programs>,
    kubelet: Kubelet,
    accept: Arc<dyn Accept>,
    state: Mutex<Enrolments>,
}

#[derive(Default)]
struct Enrolments {
    captured: HashMap<PodId, Enrolled>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    pod: WantedPod,
    reason: String,
    /// Of its namespace, if that is there.
    cookie: Option<u64>,
}

struct Enrolled {
    pod: Arc<Pod>,
    unmanaged: BTreeSet<Flow>,
    /// Accept loops; dropping them closes the listeners.
    loops: JoinSet<()>,
}

impl Capture {
    /// Enters the agent's cgroup, loads the programs (or takes over from an agent before), attaches them.
    ///
    /// # Errors
    /// [`CaptureError`]; the agent must not run half-armed.
    pub fn start(config: &Config, accept: Arc<dyn Accept>) -> Result<Self, CaptureError> {
        let cgroup = AgentCgroup::enter(&config.cgroup)?;
        let kubelet = Kubelet::find(config.kubelet.clone(), cgroup.root);
        let programs = Programs::load(&LoadOptions {
            pin_dir: config.pin_dir.clone(),
            agent_cgroup_id: cgroup.id,
            kubelet_cgroup_id: kubelet.id(),
            when_down_open: config.when_down == WhenDown::Open,
            object: config.object.clone(),
        })?;
        Ok(Self { programs: Arc::new(programs), kubelet, accept, state: Mutex::default() })
    }

    /// Enrols what is wanted and not captured, lets go what is captured and not wanted. Returns how many wait: their
    /// namespace is not there yet, or they cannot be captured (the reason is logged once and in the dump).
    pub async fn sync(&self, wanted: &[WantedPod]) -> usize {
        let mut state = self.state.lock().await;
        let gone: Vec<PodId> =
            state.captured.values().filter(|enrolled| !enrolled.is_wanted(wanted)).map(Enrolled::id).collect();
        for id in gone {
            if let Some(enrolled) = state.captured.remove(&id) {
                self.release(enrolled).await;
            }
        }
        let new: Vec<_> = wanted.iter().filter(|pod| !state.captured.contains_key(&pod.id)).cloned().collect();
        let known = std::mem::take(&mut state.waiting);
        if !new.is_empty() {
            self.enrol_all(&mut state, new, &known).await;
        }
        self.forget_strangers(&state).await;
        state.waiting.len()
    }

    async fn enrol_all(&self, state: &mut Enrolments, new: Vec<WantedPod>, known: &[Waiting]) {
        let addresses: Vec<IpAddr> = new.iter().filter_map(|pod| pod.addresses.first().copied()).collect();
        let found = pods::find(&addresses);
        for wanted in new {
            let netns = wanted.addresses.first().and_then(|ip| found.get(ip));
            let reason = match netns {
                None => "no network namespace of this node has its address".to_owned(),
                Some(netns) => match self.enrol(&wanted, netns.clone()).await {
                    Ok(enrolled) => {
                        tracing::info!(pod = %wanted.id, cookie = netns.cookie(), "captured");
                        state.captured.insert(wanted.id.clone(), enrolled);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
            };
            if !known.iter().any(|before| before.pod == wanted && before.reason == reason) {
                tracing::warn!(pod = %wanted.id, reason, "not captured");
            }
            state.waiting.push(Waiting { pod: wanted, reason, cookie: netns.map(Netns::cookie) });
        }
    }

    /// Inbound is ready before outbound: a pod that talks to itself must find both.
    async fn enrol(&self, wanted: &WantedPod, netns: Netns) -> Result<Enrolled, CaptureIoError> {
        let listeners = listen::open(&netns)?;
        source_address::prepare(&netns).await?;
        let unmanaged = unmanaged::established(&netns);
        let (id, addresses) = (wanted.id.clone(), wanted.addresses.clone());
        let pod = Arc::new(Pod { id, addresses, netns, gone: CancellationToken::new() });
        for ip in &wanted.addresses {
            if let Some(listener) = listeners.inbound.iter().find(|listener| listen::serves(listener, ip)) {
                self.programs.set_inbound(*ip, listener)?;
            }
        }
        let mut loops = JoinSet::new();
        for listener in listeners.inbound {
            loops.spawn(listen::inbound(listener, Arc::clone(&pod), Arc::clone(&self.accept)));
        }
        for listener in listeners.outbound {
            let (pod, accept) = (Arc::clone(&pod), Arc::clone(&self.accept));
            loops.spawn(listen::outbound(listener, pod, Arc::clone(&self.programs), accept));
        }
        self.programs.attach_lookup(pod.netns(), pod.netns().cookie())?;
        self.programs.enrol(pod.netns().cookie())?;
        self.accept.enrolled(&pod);
        Ok(Enrolled { pod, unmanaged, loops })
    }

    async fn release(&self, mut enrolled: Enrolled) {
        let pod = &enrolled.pod;
        pod.gone.cancel();
        self.programs.withdraw(pod.netns().cookie());
        self.programs.detach_lookup(pod.netns().cookie());
        pod.addresses().iter().for_each(|ip| self.programs.clear_inbound(*ip));
        enrolled.loops.shutdown().await;
        if let Err(error) = source_address::undo(pod.netns()).await {
            tracing::debug!(pod = %pod.id(), %error, "the namespace is going away");
        }
        tracing::info!(pod = %pod.id(), "let go");
    }

    /// What an agent before left of pods that are gone or no longer wanted. A pod that is wanted and cannot be enrolled
    /// right now (the agent before still holds its ports) stays captured: letting it go would bypass the mesh.
    async fn forget_strangers(&self, state: &Enrolments) {
        let captured = state.captured.values().map(|enrolled| enrolled.pod.netns().cookie());
        let known: HashSet<u64> = captured.chain(state.waiting.iter().filter_map(|waiting| waiting.cookie)).collect();
        let enrolled = self.programs.enrolled().unwrap_or_else(|error| {
            tracing::warn!(%error, "what an agent before captured cannot be read");
            Vec::new()
        });
        let pinned = self.programs.pinned_netns().into_iter().chain(enrolled);
        let strangers: HashSet<u64> = pinned.filter(|cookie| !known.contains(cookie)).collect();
        if strangers.is_empty() {
            return;
        }
        for cookie in &strangers {
            self.programs.withdraw(*cookie);
            self.programs.detach_lookup(*cookie);
        }
        for netns in pods::all().filter(|netns| strangers.contains(&netns.cookie())) {
            if let Err(error) = source_address::undo(&netns).await {
                tracing::warn!(cookie = netns.cookie(), %error, "rules of an agent before cannot be removed");
            }
        }
    }

    /// Looks where the kubelet is now. Whether its probes pass.
    pub fn follow_kubelet(&self) -> bool {
        self.kubelet.follow(&self.programs).unwrap_or_else(|error| {
            tracing::warn!(%error, "where the kubelet is cannot be told to the programs");
            false
        })
    }

    /// All pods that are wanted, for the dump.
    pub async fn pods(&self) -> Vec<PodStatus> {
        let state = self.state.lock().await;
        let mut pods: Vec<_> = state.captured.values().map(Enrolled::status).collect();
        pods.extend(state.waiting.iter().map(|waiting| PodStatus {
            pod: waiting.pod.id.to_string(),
            addresses: waiting.pod.addresses.clone(),
            captured: false,
            reason: Some(waiting.reason.clone()),
            netns_cookie: None,
            unmanaged: Vec::new(),
        }));
        pods.sort_by(|a, b| a.pod.cmp(&b.pod));
        pods
    }

    /// Stops accepting; the listeners are closed when this returns. The programs stay: what comes now is refused or let through, as `when_down` says.
    pub async fn stop_accepting(&self) {
        for enrolled in self.state.lock().await.captured.values_mut() {
            enrolled.loops.shutdown().await;
            enrolled.pod.gone.cancel();
        }
    }
}

impl Enrolled {
    fn id(&self) -> PodId {
        self.pod.id().clone()
    }

    fn is_wanted(&self, wanted: &[WantedPod]) -> bool {
        wanted.iter().any(|pod| pod.id == *self.pod.id() && pod.addresses == self.pod.addresses())
    }

    fn status(&self) -> PodStatus {
        let still = unmanaged::established(self.pod.netns());
        PodStatus {
            pod: self.pod.id().to_string(),
            addresses: self.pod.addresses().to_vec(),
            captured: true,
            reason: None,
            netns_cookie: Some(self.pod.netns().cookie()),
            unmanaged: self.unmanaged.intersection(&still).copied().collect::<Vec<(SocketAddr, SocketAddr)>>(),
        }
    }
}

/// A pod cannot be enrolled.
#[derive(Debug, Error)]
enum CaptureIoError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Load(#[from] LoadError),
}

/// Removes what capture left on this node: pins and with them programs and links, rules in namespaces, the cgroup.
///
/// # Errors
/// A pin cannot be removed, or the cgroup is still in use by a running agent.
pub async fn uninstall(pin_dir: &Path, cgroup: &str) -> io::Result<()> {
    // Only namespaces that this agent captured: others may be another agent's, whose node shares this kernel.
    let captured: HashSet<u64> = load::captured_netns(pin_dir).into_iter().collect();
    load::remove_pins(pin_dir)?;
    if !captured.is_empty() {
        for netns in pods::all().filter(|netns| captured.contains(&netns.cookie())) {
            source_address::undo(&netns).await?;
        }
    }
    AgentCgroup::remove(cgroup).map_err(io::Error::other)
}
