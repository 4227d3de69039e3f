//! The life of a connection, one line per stage; the only place where the stages meet.

mod admissions;
mod admit;
mod destination;
mod dial;
mod dress;
mod ends;
mod failed;
mod hop;
mod inbound;
mod lifetime;
mod outbound;
mod pods;
mod requests;
mod serve_hbone;
mod serve_sessions;
mod serve_trunk;

pub use admissions::Admissions;
pub use destination::{Authorizers, KeyStore};
pub use failed::Failed;
pub use pods::Pods;
pub use requests::Requests;

use crate::capture::{Accept, Captured, Pod};
use crate::identity::{self, PeerError, VerifiedPeer};
use crate::model::Workload;
use crate::relay::http::Pool as RequestPool;
use crate::snapshot::{Reader, Snapshot};
use crate::telemetry::Telemetry;
use crate::tunnel::origination::Originator;
use crate::tunnel::tls::{Live, TlsStream};
use crate::tunnel::{hbone, underpass};
use crate::vocab::{Alpn, ClusterName, NodeName, PodId, Stage, WorkloadId};
use failed::At;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// How long a TCP connection or a handshake may take, as Istio's ztunnel allows it.
const CONNECT: Duration = Duration::from_secs(10);
/// Endpoints that are tried before a connection fails.
const ATTEMPTS: usize = 3;
/// The port of HBONE.
const HBONE_PORT: u16 = hbone::PORT;

/// What a tunnel at this port is meant to speak, until it is agreed on.
fn meant_at(port: u16) -> Alpn {
    if port == HBONE_PORT { Alpn::Hbone } else { Alpn::Sessions }
}

/// What every connection meets on its way. Shared by all tasks of the data path.
pub struct Mesh {
    /// The cluster of this agent.
    pub cluster: ClusterName,
    /// The node of this agent.
    pub node: NodeName,
    /// The configuration in force.
    pub snapshots: Reader,
    /// The captured pods.
    pub pods: Pods,
    /// Certificates of this node's workloads.
    pub identities: Arc<identity::Store>,
    /// Warm `underpass/1` sessions.
    pub sessions: underpass::Pool,
    /// Connections on which many such sessions are carried.
    pub trunks: underpass::Trunks<Failed>,
    /// Reports of requests that wait to be sent to the destinations' agents.
    pub reports: underpass::Reports,
    /// Every tunnel that is open, warm or in use.
    pub live: Live,
    /// HBONE connections.
    pub hbone: hbone::Pool,
    /// TLS that rules ask for.
    pub originator: Originator,
    /// Keys of those who issue tokens.
    pub keys: KeyStore,
    /// Connections to external authorizers.
    pub authorizers: Authorizers,
    /// Upstream HTTP connections.
    pub requests: Arc<RequestPool<Requests>>,
    /// Metrics and access log.
    pub telemetry: Telemetry,
    /// The connections that came in, to be decided about again when policies change.
    pub admissions: Arc<Admissions>,
    /// The open connections, to be waited for.
    pub tasks: TaskTracker,
}

impl Mesh {
    /// A pod of this node, in configuration.
    fn identify(&self, now: &Snapshot, pod: &PodId) -> Result<Arc<Workload>, Failed> {
        let id = WorkloadId { cluster: self.cluster.clone(), pod: pod.clone() };
        let workload = now.workload(&id).cloned();
        workload.ok_or("the pod is not in the configuration").at(Stage::Identity, "IDENTITY_ERROR")
    }
}

impl Mesh {
    /// The peer of a handshake that began when trust had changed so often; the tunnel can be ended from now on.
    fn verified(&self, tls: &mut TlsStream, generation: u64) -> Result<VerifiedPeer, PeerError> {
        let (trust, chain) = (self.identities.trust(), tls.info().peer_certificates.clone());
        self.live.add(tls);
        // What was revoked during the handshake, and was not found among the live.
        if trust.generation() != generation && trust.is_revoked(&chain) {
            return Err(PeerError::Revoked);
        }
        trust.peer(&chain)
    }

    /// Ends the tunnels of peers whose certificates are revoked; says how many.
    pub fn end_revoked(&self) -> u64 {
        let trust = self.identities.trust();
        let ended = self.live.end("the peer's certificate was revoked", |chain| trust.is_revoked(chain));
        self.telemetry.agent().tunnels_ended("revoked", ended);
        ended
    }
}

/// Takes connections from capture and gives each a task.
pub struct Conductor(pub Arc<Mesh>);

impl Accept for Conductor {
    fn outbound(&self, captured: Captured) {
        let mesh = Arc::clone(&self.0);
        self.0.tasks.spawn(async move { outbound::serve(&mesh, captured).await });
    }

    fn inbound(&self, captured: Captured) {
        let mesh = Arc::clone(&self.0);
        self.0.tasks.spawn(async move { inbound::serve(&mesh, captured).await });
    }

    fn enrolled(&self, pod: &Arc<Pod>) {
        self.0.pods.add(pod);
    }
}

/// Ends a connection so that its peer sees a reset: what was cut must not look complete.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
