//! Builds a CA out of its parts and runs it.

use super::api::Api;
use super::authorize::Rules;
use super::desk::Desk;
use super::listen;
use super::metrics::Counts;
use super::pods::Pods;
use super::signer::{Signer, SignerOptions};
use crate::admin::{self, Sources};
use crate::explain;
use crate::model::Finding;
use crate::options::CaOptions;
use crate::snapshot::{Assembler, Publisher, Reader, Snapshot};
use crate::source::{self, Root, Update};
use crate::telemetry::{self, LogControl};
use crate::vocab::ClusterName;
use anyhow::Context;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

/// Runs a CA until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(options: &CaOptions) -> anyhow::Result<()> {
    let logging = telemetry::install(options.log.log_format, &options.log.level())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(start(options, logging))
}

/// What is known of the cluster.
#[derive(Default)]
struct Known {
    read: AtomicBool,
    findings: Mutex<Vec<Finding>>,
}

async fn start(options: &CaOptions, logging: LogControl) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signer = Signer::open(
        SignerOptions {
            cacerts: options.cacerts.clone(),
            trust_domain: options.trust_domain.as_str().into(),
            names: options.dns_names.clone(),
            max_lifetime: options.max_lifetime,
        },
        SystemTime::now(),
    );
    let signer = Arc::new(signer?);
    let cluster: ClusterName = options.cluster.as_str().into();
    let (publisher, snapshots) = Publisher::new(Arc::new(Snapshot::empty(cluster.clone())));
    let api = Arc::new(Api::new(options.kube.clone()));
    let known = Arc::new(Known::default());
    let pods = match source_config(options) {
        Some(config) => {
            let assembler = Assembler::new(cluster.clone());
            tokio::spawn(follow(source::watch(config), assembler, publisher, Arc::clone(&known)));
            Pods::Manifests(cluster.clone(), snapshots.clone())
        }
        None => {
            known.read.store(true, Ordering::Relaxed);
            Pods::of_api(Arc::clone(&api), options.trust_domain.as_str().into())
        }
    };
    let desk = Arc::new(Desk {
        cluster,
        rules: Rules { trusted: options.trusted_node_agents.clone(), pods },
        api,
        audience: options.audience.clone(),
        signer: Arc::clone(&signer),
        counts: Counts::default(),
    });
    let listening = TcpListener::bind(options.listen).await;
    let listener = listening.with_context(|| format!("cannot listen on {}", options.listen))?;
    admin::serve(options.admin.surfaces(), sources(&desk, snapshots, &known, logging)).await?;
    let keeper = Arc::clone(&signer);
    tokio::spawn(async move { keeper.keep_fresh().await });
    tracing::info!(cluster = options.cluster, listen = %listener.local_addr()?, "signing");
    tokio::select! {
        ended = listen::serve(listener, desk) => match ended? {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
    Ok(())
}

/// Keeps in mind which pods are on which node.
async fn follow(mut updates: Receiver<Update>, mut assembler: Assembler, publisher: Publisher, known: Arc<Known>) {
    while let Some(update) = updates.recv().await {
        let (snapshot, assembled) = assembler.apply(update.changes);
        publisher.publish(snapshot);
        *known.findings.lock() = update.findings.into_iter().chain(assembled).collect();
        known.read.store(true, Ordering::Relaxed);
    }
}

/// None where the API server is asked.
fn source_config(options: &CaOptions) -> Option<source::Config> {
    let manifests = options.manifests.as_ref()?;
    let root = Root { cluster: options.cluster.as_str().into(), dir: manifests.clone() };
    Some(source::Config::of(&options.cluster, [root], &options.trust_domain))
}

/// The same paths as an agent has; a CA has no pods and no connections of pods.
fn sources(desk: &Arc<Desk>, snapshots: Reader, known: &Arc<Known>, logging: LogControl) -> Sources {
    let (all, routes, why) = (snapshots.clone(), snapshots.clone(), snapshots.clone());
    let (metrics, certs, findings, ready) = (Arc::clone(desk), Arc::clone(desk), Arc::clone(known), Arc::clone(known));
    Sources {
        snapshot: Box::new(move || snapshots.snapshot().dump()),
        workloads: Box::new(move || json!(all.snapshot().workloads.iter().collect::<Vec<_>>())),
        pods: Box::new(|| json!([])),
        connections: Box::new(|| json!([])),
        findings: Box::new(move || json!(*findings.findings.lock())),
        certs: Box::new(move || json!([certs.signer.describe(SystemTime::now())])),
        routes: Box::new(move |source| explain::list(&routes.snapshot(), source)),
        explain: Box::new(move |question| explain::explain(&why.snapshot(), question)),
        metrics: Box::new(move || metrics.counts.scrape(&metrics.signer)),
        ready: Box::new(move || match ready.read.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => vec!["the manifests have not been read yet".to_owned()],
        }),
        logging,
    }
}
