//! Making the next hop: TCP inside the client's network namespace, TLS as the client's workload, the peer verified.

use super::failed::{At, Failed};
use super::{CONNECT, HBONE_PORT, Mesh, meant_at};
use crate::balance::Caller;
use crate::capture::{Pod, SocketIntent, connect};
use crate::model::Workload;
use crate::model::traffic_policy::Keepalive;
use crate::policy::Permit;
use crate::route::Upstream;
use crate::tunnel::hbone;
use crate::tunnel::tls::{self, TlsStream};
use crate::tunnel::underpass::{self, Attempt, Own, PoolKey, Session};
use crate::vocab::{Alpn, Direction, OrigDst, PeerAddr, Stage};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// On whose behalf a hop is made.
#[derive(Clone)]
pub struct Client {
    /// The pod whose connection was captured.
    pub pod: Arc<Pod>,
    /// The same pod in configuration.
    pub workload: Arc<Workload>,
    /// The application's end.
    pub address: PeerAddr,
    /// How its connections are made.
    pub manner: Manner,
}

/// How connections are made, as the DestinationRule in force says.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    connect: Duration,
    keepalive: Option<Keepalive>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { connect: CONNECT, keepalive: None }
    }
}

impl Client {
    /// The same client, whose connections are made as the policy of an upstream says.
    pub fn under(&self, upstream: &Upstream) -> Self {
        let pool = upstream.policy.connection_pool.as_ref().map(|pool| &pool.tcp);
        let connect = pool.and_then(|tcp| tcp.connect_timeout).unwrap_or(CONNECT);
        let manner = Manner { connect, keepalive: pool.and_then(|tcp| tcp.keepalive) };
        Self { manner, ..self.clone() }
    }

    /// A TCP connection out of its pod.
    pub async fn tcp(&self, intent: SocketIntent, to: SocketAddr) -> Result<TcpStream, Failed> {
        let stream = connected(connect(&self.pod, intent, None, to), to, self.manner.connect).await?;
        if let Some(keepalive) = &self.manner.keepalive {
            let set = SockRef::from(&stream).set_tcp_keepalive(&as_set(keepalive));
            set.at(Stage::Tunnel, "CONNECT")?;
        }
        Ok(stream)
    }

    /// For whom an endpoint is picked: this client, now, which used that address.
    pub fn caller(&self, used: OrigDst, hash: Option<u64>) -> Caller<'_> {
        Caller { client: &self.workload, used: used.socket(), hash, now: Instant::now() }
    }
}

/// A TCP connection out of a pod's network namespace, with the pod's own address or, given `source`, with another's.
pub async fn tcp(pod: &Pod, intent: SocketIntent, source: Option<IpAddr>, to: SocketAddr) -> Result<TcpStream, Failed> {
    connected(connect(pod, intent, source, to), to, CONNECT).await
}

async fn connected(
    connecting: impl Future<Output = io::Result<TcpStream>>,
    to: SocketAddr,
    within: Duration,
) -> Result<TcpStream, Failed> {
    match timeout(within, connecting).await {
        Ok(connected) => connected.map_err(|error| Failed::new(Stage::Tunnel, "CONNECT", format!("{to}: {error}"))),
        Err(_) => Err(Failed::new(Stage::Tunnel, "CONNECT", format!("{to}: no answer within {within:?}"))),
    }
}

/// What is not said stays as the kernel has it.
fn as_set(keepalive: &Keepalive) -> TcpKeepalive {
    let mut set = TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        set = set.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        set = set.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        set = set.with_retries(probes);
    }
    set
}

/// A session to the agent of `workload`, warm if there is one.
///
/// # Errors
/// The stage and reason; nothing of the application was sent.
pub async fn session(
    mesh: &Mesh,
    client: &Client,
    to: (&Workload, SocketAddr),
    _permit: &Permit,
) -> Result<(PoolKey, Session), Failed> {
    let key = key(client, to);
    if let Some(session) = mesh.sessions.take(&key) {
        mesh.telemetry.agent().sessions(Direction::Outbound, Alpn::Sessions).reused();
        return Ok((key, session));
    }
    let identity = mesh.identities.of(&client.workload.identity).await.at(Stage::Identity, "IDENTITY_ERROR")?;
    let tls = handshake(mesh, client, to, Arc::clone(&identity.client_underpass)).await?;
    Ok((key, Session::new(tls)))
}

fn key(client: &Client, (workload, destination): (&Workload, SocketAddr)) -> PoolKey {
    PoolKey {
        source: client.address.ip(),
        source_id: client.workload.identity.clone(),
        destination,
        destination_id: workload.identity.clone(),
    }
}

/// A session for many short exchanges: where there are several such, on a connection that they share. What it comes
/// with says how many do not, and is to be kept as long as the session.
///
/// # Errors
/// The stage and reason; nothing of the application was sent.
pub async fn shared(
    mesh: &Mesh,
    client: &Client,
    to: (&Workload, SocketAddr),
    permit: &Permit,
) -> Result<(Session, Option<Own>), Failed> {
    let key = key(client, to);
    loop {
        let dial = match mesh.trunks.attempt(&key) {
            Attempt::Own(own) => {
                let (_, session) = session(mesh, client, to, permit).await?;
                return Ok((session, Some(own)));
            }
            Attempt::Lane(lane) => {
                mesh.telemetry.agent().sessions(Direction::Outbound, Alpn::Lanes).reused();
                return Ok((Session::on(lane), None));
            }
            Attempt::Wait(other) => match other.done().await {
                Some(failed) => return Err(failed),
                None => continue,
            },
            Attempt::Dial(dial) => dial,
        };
        let identity = mesh.identities.of(&client.workload.identity).await.at(Stage::Identity, "IDENTITY_ERROR")?;
        match handshake(mesh, client, to, Arc::clone(&identity.client_lanes)).await {
            Ok(tls) if tls.info().alpn != Some(Alpn::Lanes) => {
                dial.plain();
                return Ok((Session::new(tls), None));
            }
            Ok(tls) => {
                let (trunk, driving) = underpass::drive(tls, true, drop);
                tokio::spawn(driving);
                if let Some(lane) = dial.made(trunk) {
                    return Ok((Session::on(lane), None));
                }
            }
            Err(failed) => {
                dial.failed(failed.clone());
                return Err(failed);
            }
        }
    }
}

/// TCP and TLS to a peer, who must be who `workload` says.
///
/// # Errors
/// The stage and reason.
pub async fn handshake(
    mesh: &Mesh,
    client: &Client,
    (workload, address): (&Workload, SocketAddr),
    config: Arc<ClientConfig>,
) -> Result<TlsStream, Failed> {
    let (stream, within) = (client.tcp(SocketIntent::Tunnel, address).await?, client.manner.connect);
    let generation = mesh.identities.trust().generation();
    let shaken = timeout(within, tls::connect(stream, config)).await;
    let result = match shaken {
        Ok(shaken) => shaken.at(Stage::Tunnel, "TLS_FAILURE"),
        Err(_) => Err(Failed::new(Stage::Tunnel, "TLS_FAILURE", format!("no TLS handshake within {within:?}"))),
    };
    let verified = result.and_then(|mut tls| {
        let peer = mesh.verified(&mut tls, generation).at(Stage::Identity, "IDENTITY_ERROR")?;
        peer.expect(&workload.identity).at(Stage::Identity, "IDENTITY_ERROR")?;
        Ok(tls)
    });
    let result = verified.as_ref().err().map_or("ok", |failed| failed.flag);
    let agreed = verified.as_ref().ok().and_then(|tls| tls.info().alpn);
    let alpn = agreed.unwrap_or(meant_at(address.port()));
    mesh.telemetry.agent().handshake(Direction::Outbound, alpn, result);
    verified.map_err(|failed| Failed { reason: format!("{address}: {}", failed.reason), ..failed })
}

/// A tunnel to the HBONE server of `workload`'s agent, whose application takes the connection.
///
/// # Errors
/// The stage and reason; nothing of the application was sent.
pub async fn hbone(
    mesh: &Mesh,
    client: &Client,
    (workload, address): (&Workload, SocketAddr),
    _permit: &Permit,
) -> Result<hbone::Stream, Failed> {
    let peer = SocketAddr::new(address.ip(), HBONE_PORT);
    let key = hbone::PoolKey {
        source: client.workload.identity.clone(),
        source_address: client.address.ip(),
        destination: workload.identity.clone(),
        address: peer,
    };
    let identity = mesh.identities.of(&client.workload.identity).await.at(Stage::Identity, "IDENTITY_ERROR")?;
    let connect = hbone::Connect {
        baggage: baggage(&client.workload),
        forwarded_for: Some(client.address.ip()),
        ..hbone::Connect::new(hbone::Target::Address(address))
    };
    let handshake = async || handshake(mesh, client, (workload, peer), Arc::clone(&identity.client_hbone)).await;
    let opened = mesh.hbone.open(&key, &connect, handshake).await;
    let dialled = opened.map_err(|error| match error {
        hbone::OpenError::Refused(hbone::Refusal::Denied) => Failed::new(Stage::Policy, "DENY", error),
        hbone::OpenError::Dial(error) => not_dialled(&*error, peer),
        error => Failed::new(Stage::Tunnel, "CONNECT", format!("{peer}: {error}")),
    })?;
    if dialled.reused {
        mesh.telemetry.agent().sessions(Direction::Outbound, Alpn::Hbone).reused();
    }
    Ok(dialled.stream)
}

/// What [`handshake`] said, which the pool shares among all who waited for the session.
fn not_dialled(error: &(dyn std::error::Error + Send + Sync + 'static), peer: SocketAddr) -> Failed {
    match error.downcast_ref::<Failed>() {
        Some(failed) => Failed::new(failed.stage, failed.flag, failed),
        None => Failed::new(Stage::Tunnel, "CONNECT", format!("{peer}: {error}")),
    }
}

fn baggage(workload: &Workload) -> hbone::Baggage {
    hbone::Baggage {
        cluster: Some(workload.id.cluster.clone()),
        namespace: Some(workload.id.pod.namespace.clone()),
        kind: hbone::WorkloadKind::Deployment,
        workload: Some(Arc::clone(&workload.owner)),
        service: Some(Arc::clone(&workload.canonical_service)),
        version: Some(Arc::clone(&workload.canonical_revision)),
        ..hbone::Baggage::default()
    }
}
