//! Builds the agent of a node out of its parts and runs it.

use crate::admin::{self, Sources};
use crate::capture::{self, Capture, WantedPod};
use crate::connection::{Conductor, Mesh};
use crate::explain;
use crate::identity::Store;
use crate::model::Finding;
use crate::options::{AgentOptions, UninstallOptions, WhenDown};
use crate::snapshot::{Assembler, Publisher, Snapshot};
use crate::source::{self, Root, Update};
use crate::telemetry::{self, LogControl, Telemetry};
use crate::tunnel::underpass::PoolKey;
use crate::vocab::{ClusterName, PodId, SpiffeId};
use anyhow::Context;
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

/// How often pods that could not be captured yet are tried again, reports are sent that nothing else carries, and pools
/// are swept.
const RETRY: Duration = Duration::from_millis(250);
const REPORTS: Duration = Duration::from_millis(100);
const SWEEP: Duration = Duration::from_secs(5);
/// How often the kubelet is looked for: one probe may fail when it was restarted, and three in a row count.
const KUBELET: Duration = Duration::from_millis(500);
/// How long readiness waits for pods whose namespace is not there: a pod that is just being made, or long dead.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long open connections may go on after SIGTERM; Kubernetes' grace period is 30 s.
const DRAIN: Duration = Duration::from_secs(25);

/// Runs an agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting: it does not run half-armed.
pub fn run(options: &AgentOptions) -> anyhow::Result<()> {
    let logging = telemetry::install(options.log.log_format, &options.log.level())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = options.workers {
        runtime.worker_threads(workers.into());
    }
    let runtime = runtime.enable_all().build().context("cannot start the data path's threads")?;
    let result = runtime.block_on(Node::start(options, logging))?.run_until_told();
    runtime.block_on(result)
}

/// Removes what an agent left in the kernel.
///
/// # Errors
/// What could not be removed.
pub fn uninstall(options: &UninstallOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(capture::uninstall(&options.pin_dir, &options.cgroup))?;
    println!("removed {} and the cgroup {}", options.pin_dir.display(), options.cgroup);
    Ok(())
}

/// A running agent.
struct Node {
    mesh: Arc<Mesh>,
    capture: Arc<Capture>,
    assembler: Assembler,
    publisher: Publisher,
    updates: Receiver<Update>,
    progress: Arc<Progress>,
    started: Instant,
    known: HashMap<PodId, Vec<IpAddr>>,
}

/// What readiness and the dumps ask for.
#[derive(Default)]
struct Progress {
    ready: AtomicBool,
    reasons: Mutex<Vec<String>>,
    findings: Mutex<Vec<Finding>>,
}

impl Node {
    async fn start(options: &AgentOptions, logging: LogControl) -> anyhow::Result<Self> {
        let cluster: ClusterName = options.mesh.cluster.as_str().into();
        let (publisher, snapshots) = Publisher::new(Arc::new(Snapshot::empty(cluster.clone())));
        let mesh = Arc::new(Mesh {
            cluster: cluster.clone(),
            node: options.mesh.node.as_str().into(),
            snapshots,
            pods: Default::default(),
            identities: Store::open(options.identity.store(&options.mesh.cluster))?,
            sessions: Default::default(),
            trunks: Default::default(),
            live: Default::default(),
            reports: Default::default(),
            hbone: Default::default(),
            originator: Default::default(),
            keys: Default::default(),
            authorizers: Default::default(),
            requests: Default::default(),
            telemetry: Telemetry::new(&telemetry::Config {
                access_log: options.log.access_log.clone(),
                format: options.log.log_format,
            })?,
            admissions: Default::default(),
            tasks: Default::default(),
        });
        let updates = source::watch(source_config(options));
        let capture = Arc::new(Capture::start(&capture_config(options), Arc::new(Conductor(Arc::clone(&mesh))))?);
        let progress = Arc::new(Progress::default());
        admin::serve(options.listen.surfaces(), sources(&mesh, &capture, &progress, logging)).await?;
        let (assembler, known) =
            (Assembler::new(cluster).with_outbound(options.mesh.outbound_traffic_policy), HashMap::new());
        mesh.telemetry.agent().watch(assembler.standings().clone());
        tracing::info!(cluster = %mesh.cluster, node = %mesh.node, "started");
        Ok(Self { mesh, capture, assembler, publisher, updates, progress, started: Instant::now(), known })
    }

    async fn run_until_told(mut self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (mut retry, mut sweep) = (tokio::time::interval(RETRY), tokio::time::interval(SWEEP));
        let keeper = Arc::clone(&self.mesh);
        tokio::spawn(async move { keeper.identities.keep_fresh().await });
        let (admissions, snapshots) = (Arc::clone(&self.mesh.admissions), self.mesh.snapshots.clone());
        tokio::spawn(async move { admissions.watch(snapshots).await });
        tokio::spawn(end_revoked(Arc::clone(&self.mesh)));
        let mesh = Arc::clone(&self.mesh);
        tokio::spawn(async move { mesh.keys.keep_fresh(&mesh).await });
        let pool = Arc::clone(&self.mesh.requests);
        tokio::spawn(async move { pool.maintain().await });
        let mut reports = tokio::time::interval(REPORTS);
        let mut kubelet = tokio::time::interval(KUBELET);
        let mut waiting = usize::MAX;
        loop {
            tokio::select! {
                Some(update) = self.updates.recv() => waiting = self.apply(update).await,
                _ = retry.tick(), if waiting != usize::MAX && waiting > 0 => waiting = self.sync().await,
                _ = sweep.tick() => self.sweep(),
                _ = kubelet.tick() => self.mesh.telemetry.agent().kubelet(self.capture.follow_kubelet()),
                _ = reports.tick() => self.mesh.reports.flush(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.drain().await;
        Ok(())
    }

    /// The next generation of configuration comes into force.
    async fn apply(&mut self, update: Update) -> usize {
        let (snapshot, assembled) = self.assembler.apply(update.changes);
        self.mesh.telemetry.agent().generation(snapshot.generation);
        self.publisher.publish(snapshot);
        let findings: Vec<Finding> = update.findings.into_iter().chain(assembled).collect();
        self.mesh.telemetry.agent().findings(&findings);
        self.progress.report(findings);
        self.sync().await
    }

    /// Makes capture match the pods of this node; returns how many wait.
    async fn sync(&mut self) -> usize {
        let now = self.mesh.snapshots.snapshot();
        let local = now.local_pods(&self.mesh.cluster, &self.mesh.node).filter(|workload| workload.enrolled);
        let local: Vec<_> = local.collect();
        let wanted: Vec<WantedPod> = local
            .iter()
            .map(|workload| WantedPod { id: workload.id.pod.clone(), addresses: workload.addresses.clone() })
            .collect();
        let identities: BTreeSet<_> = local.iter().map(|workload| workload.identity.clone()).collect();
        let waiting = self.capture.sync(&wanted).await;
        self.forget_gone(&wanted);
        self.forget_far(&now);
        self.mesh.identities.keep(&identities);
        let (all, waiting_pods) = (wanted.len() as u64, waiting as u64);
        self.mesh.telemetry.agent().pods(all - waiting_pods, waiting_pods);
        self.progress.waiting(waiting, self.started.elapsed() > PATIENCE);
        waiting
    }

    /// Tunnels of pods that went are not kept for whoever gets the address next.
    fn forget_gone(&mut self, wanted: &[WantedPod]) {
        let now: HashMap<PodId, Vec<IpAddr>> =
            wanted.iter().map(|pod| (pod.id.clone(), pod.addresses.clone())).collect();
        for ip in self.known.iter().filter(|(id, ips)| now.get(*id) != Some(ips)).flat_map(|(_, ips)| ips) {
            let touches = |key: &PoolKey| key.source == *ip || key.destination.ip() == *ip;
            self.mesh.sessions.forget(touches);
            self.mesh.trunks.forget(touches);
            self.mesh.hbone.retire(|key| key.source_address == *ip);
        }
        self.known = now;
    }

    /// The same for pods at the other end, of any node: their sockets may vanish without a word. And for pods of this
    /// node that are no longer captured: a connection that ended after that gave its session back.
    fn forget_far(&self, now: &Snapshot) {
        let stands = |ip: IpAddr, id: &SpiffeId| now.workload_at(ip).filter(|pod| pod.identity == *id);
        let ours = |ip: IpAddr, id: &SpiffeId| stands(ip, id).is_some_and(|pod| pod.enrolled);
        let theirs = |ip: IpAddr, id: &SpiffeId| stands(ip, id).is_some();
        let gone =
            |key: &PoolKey| !ours(key.source, &key.source_id) || !theirs(key.destination.ip(), &key.destination_id);
        self.mesh.sessions.forget(gone);
        self.mesh.trunks.forget(gone);
        self.mesh
            .hbone
            .retire(|key| !ours(key.source_address, &key.source) || !theirs(key.address.ip(), &key.destination));
    }

    fn sweep(&self) {
        self.mesh.sessions.sweep();
        self.mesh.trunks.sweep();
        self.mesh.authorizers.sweep();
        self.forget_far(&self.mesh.snapshots.snapshot());
        self.mesh.telemetry.sweep();
    }

    /// No new connections; those that are open have a while to end.
    async fn drain(self) {
        tracing::info!("told to stop: draining");
        self.capture.stop_accepting().await;
        self.mesh.tasks.close();
        if tokio::time::timeout(DRAIN, self.mesh.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.mesh.tasks.len(), "connections are cut");
        }
        self.mesh.telemetry.flush(Duration::from_secs(1));
    }
}

impl Progress {
    /// Keeps the findings for the dump and logs those that are new.
    fn report(&self, findings: Vec<Finding>) {
        let mut before = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == findings {
            return;
        }
        // A set: thousands of findings must not be held against each other at every change.
        let known: HashSet<&Finding> = before.iter().collect();
        for finding in findings.iter().filter(|finding| !known.contains(finding)) {
            let Finding { at, code, message, .. } = finding;
            match finding.severity {
                crate::model::Severity::Error => tracing::error!(at, code, "{message}"),
                crate::model::Severity::Warning => tracing::warn!(at, code, "{message}"),
            }
        }
        *before = findings;
    }

    /// Once ready, always ready: what is not captured later is a gauge and a row of the dump.
    fn waiting(&self, waiting: usize, impatient: bool) {
        if waiting == 0 || impatient {
            self.ready.store(true, Ordering::Relaxed);
        }
        *self.reasons.lock().unwrap_or_else(PoisonError::into_inner) =
            vec![format!("{waiting} pods of this node are not captured yet")];
    }

    fn missing(&self) -> Vec<String> {
        if self.ready.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if reasons.is_empty() { vec!["the manifests have not been read yet".to_owned()] } else { reasons }
    }
}

fn source_config(options: &AgentOptions) -> source::Config {
    let mesh = &options.mesh;
    let local = Root { cluster: mesh.cluster.as_str().into(), dir: mesh.manifests.clone() };
    let remote = mesh
        .remote
        .iter()
        .map(|remote| Root { cluster: remote.cluster.as_str().into(), dir: remote.manifests.clone() });
    source::Config {
        network: mesh.network.as_str().into(),
        ..source::Config::of(
            mesh.cluster.as_str(),
            std::iter::once(local).chain(remote),
            &options.identity.trust_domain,
        )
    }
}

fn capture_config(options: &AgentOptions) -> capture::Config {
    capture::Config {
        pin_dir: options.capture.pin_dir.clone(),
        cgroup: options.capture.cgroup.clone(),
        kubelet: options.capture.kubelet_cgroup.clone(),
        when_down: match options.capture.when_down {
            WhenDown::Closed => capture::WhenDown::Closed,
            WhenDown::Open => capture::WhenDown::Open,
        },
        object: options.capture.ebpf_object.clone(),
    }
}

/// Where the listeners' answers come from.
fn sources(mesh: &Arc<Mesh>, capture: &Arc<Capture>, progress: &Arc<Progress>, logging: LogControl) -> Sources {
    let (reader, all) = (mesh.snapshots.clone(), mesh.snapshots.clone());
    let (connections, metrics) = (mesh.telemetry.clone(), Arc::clone(mesh));
    let (certs, capture, runtime) = (Arc::clone(mesh), Arc::clone(capture), tokio::runtime::Handle::current());
    let (findings, ready) = (Arc::clone(progress), Arc::clone(progress));
    let (routes, why) = (mesh.snapshots.clone(), mesh.snapshots.clone());
    Sources {
        snapshot: Box::new(move || reader.snapshot().dump()),
        workloads: Box::new(move || json!(all.snapshot().workloads.iter().collect::<Vec<_>>())),
        pods: Box::new(move || json!(runtime.block_on(capture.pods()))),
        connections: Box::new(move || json!(connections.connections())),
        findings: Box::new(move || json!(*findings.findings.lock().unwrap_or_else(PoisonError::into_inner))),
        certs: Box::new(move || json!(certs.identities.rows())),
        routes: Box::new(move |source| explain::list(&routes.snapshot(), source)),
        explain: Box::new(move |question| explain::explain(&why.snapshot(), question)),
        metrics: Box::new(move || {
            measure_certificates(&metrics.identities, &metrics.telemetry);
            metrics.telemetry.scrape()
        }),
        ready: Box::new(move || ready.missing()),
        logging,
    }
}

/// Follows the lists of revoked certificates.
async fn end_revoked(mesh: Arc<Mesh>) {
    let mut changes = mesh.identities.trust().changes();
    while changes.changed().await.is_ok() {
        let judge = Arc::clone(&mesh);
        // Chains are checked again, a fraction of a millisecond each.
        let ended = tokio::task::spawn_blocking(move || judge.end_revoked()).await.unwrap_or(0);
        if ended > 0 {
            tracing::warn!(tunnels = ended, "tunnels ended: the certificates of their peers were revoked");
        }
    }
}

fn measure_certificates(identities: &Store, telemetry: &Telemetry) {
    let held = identities.list();
    let ends = held.iter().map(|identity| (identity.id.clone(), identity.not_after()));
    telemetry.agent().certificates(ends);
    telemetry.agent().certificate_requests(identities.counts());
}
