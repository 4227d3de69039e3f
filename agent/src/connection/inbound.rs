//! From the mesh, or from outside it, to a pod of this node.
//!
//! Capture takes every port, so the cases are told apart here. From an enrolled workload's address, and on the HBONE
//! port from anyone, a tunnel is expected: the first bytes are awaited and ALPN decides. From any other address it is
//! plaintext, or the application's own TLS, and goes through at once: a server that speaks first never waits.

use super::admissions::Held;
use super::admit::{Admission, Otherwise};
use super::destination::{self, Arrived, Way};
use super::failed::{At, Failed};
use super::{CONNECT, HBONE_PORT, Mesh, admit, dial, ends, meant_at, reset, serve_hbone, serve_sessions, serve_trunk};
use crate::capture::{Captured, Pod, SocketIntent};
use crate::identity::{PeerError, VerifiedPeer};
use crate::model::{TunnelProtocol, Workload};
use crate::policy::{Connection, Peer};
use crate::relay::tcp;
use crate::telemetry::{Open, Outcome, Party};
use crate::tunnel::tls::{self, HandshakeError, TlsStream};
use crate::tunnel::underpass;
use crate::vocab::{Alpn, Direction, OrigDst, PeerAddr, Stage};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A pod of this node as the destination of connections.
#[derive(Clone)]
pub struct Server {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The address that the peer used.
    pub original: OrigDst,
    /// The peer.
    pub peer: PeerAddr,
}

/// What the first bytes say.
enum Arrival {
    /// A tunnel, whose handshake starts with these bytes.
    Tunnel(Vec<u8>),
    /// Anything else, starting with these bytes.
    Plain(Vec<u8>),
}

/// Serves what came in to its end.
pub async fn serve(mesh: &Arc<Mesh>, captured: Captured) {
    let Captured { stream, pod, original, peer } = captured;
    let server = Server { pod, original, peer };
    match arrival(mesh, &server, stream).await {
        Ok((stream, Arrival::Tunnel(read))) => tunnel(mesh, server, stream, read).await,
        Ok((stream, Arrival::Plain(read))) => plaintext(mesh, &server, stream, read).await,
        Err(failed) => server.record(mesh).close(failed.outcome()),
    }
}

async fn arrival(mesh: &Mesh, server: &Server, mut stream: TcpStream) -> Result<(TcpStream, Arrival), Failed> {
    if server.original.port() == HBONE_PORT {
        return Ok((stream, Arrival::Tunnel(Vec::new())));
    }
    let expected = mesh.snapshots.load().workload_at(server.peer.ip()).is_some_and(|peer| expects_tunnel(peer));
    if !expected {
        return Ok((stream, Arrival::Plain(Vec::new())));
    }
    let mut read = Vec::with_capacity(2048);
    let offered = timeout(CONNECT, async {
        loop {
            if let Some(offered) = tls::offered_alpn(&read) {
                return Ok(offered);
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(Vec::new());
            }
        }
    });
    let offered = match offered.await {
        Ok(offered) => offered.map_err(|error: std::io::Error| error).at(Stage::Capture, "RESET")?,
        // A pod of the mesh that says nothing: perhaps its server speaks first and the client is not captured yet.
        Err(_) => Vec::new(),
    };
    let ours = offered.iter().any(|id| id == Alpn::Sessions.id());
    Ok((stream, if ours { Arrival::Tunnel(read) } else { Arrival::Plain(read) }))
}

fn expects_tunnel(peer: &Workload) -> bool {
    peer.tunnel != TunnelProtocol::Plaintext
}

async fn tunnel(mesh: &Arc<Mesh>, server: Server, stream: TcpStream, read: Vec<u8>) {
    let (tls, alpn, peer) = match handshake(mesh, &server, stream, read).await {
        Ok(shaken) => shaken,
        Err((failed, reason)) => {
            let meant = meant_at(server.original.port());
            mesh.telemetry.agent().handshake(Direction::Inbound, meant, reason);
            tracing::info!(pod = %server.pod.id(), peer = %server.peer, reason = failed.reason, "tunnel refused");
            return server.record(mesh).close(failed.outcome());
        }
    };
    mesh.telemetry.agent().handshake(Direction::Inbound, alpn, "ok");
    let _open = mesh.telemetry.agent().sessions(Direction::Inbound, alpn).opened();
    match alpn {
        Alpn::Sessions => serve_sessions::serve(mesh, &server, underpass::Session::new(tls), &peer).await,
        Alpn::Lanes => serve_trunk::serve(mesh, server, tls, peer).await,
        Alpn::Hbone => serve_hbone::serve(mesh, server, tls, peer).await,
    }
}

async fn handshake(
    mesh: &Mesh,
    server: &Server,
    stream: TcpStream,
    read: Vec<u8>,
) -> Result<(TlsStream, Alpn, VerifiedPeer), (Failed, &'static str)> {
    let plain = |failed, reason| (failed, reason);
    let workload =
        mesh.identify(&mesh.snapshots.load(), server.pod.id()).map_err(|failed| plain(failed, "identity"))?;
    let identity = mesh.identities.of(&workload.identity).await.at(Stage::Identity, "IDENTITY_ERROR");
    let config = Arc::clone(&identity.map_err(|failed| plain(failed, "identity"))?.server);
    let generation = mesh.identities.trust().generation();
    let shaken = match timeout(CONNECT, tls::accept(stream, config, read)).await {
        Ok(shaken) => shaken,
        Err(_) => return Err((Failed::new(Stage::Tunnel, "TLS_FAILURE", "no TLS handshake in time"), "timeout")),
    };
    let mut tls = shaken.map_err(|error| {
        let reason = match &error {
            HandshakeError::Tls(tls) => PeerError::in_handshake(tls).map_or("tls", |error| error.reason()),
            HandshakeError::Io(_) => "io",
            HandshakeError::Record(_) | HandshakeError::TooLong => "not_tls",
        };
        (Failed::new(Stage::Tunnel, "TLS_FAILURE", error), reason)
    })?;
    let no_protocol = || (Failed::new(Stage::Tunnel, "TLS_FAILURE", "the peer chose no protocol (ALPN)"), "alpn");
    let alpn = tls.info().alpn.ok_or_else(no_protocol)?;
    let peer = mesh.verified(&mut tls, generation);
    let peer = peer.map_err(|error| (Failed::new(Stage::Identity, "IDENTITY_ERROR", &error), error.reason()))?;
    Ok((tls, alpn, peer))
}

/// A peer that proved nothing: PeerAuthentication decides.
async fn plaintext(mesh: &Arc<Mesh>, server: &Server, mut stream: TcpStream, read: Vec<u8>) {
    let record = server.record(mesh);
    let result = match admit_plaintext(mesh, server, &record).await {
        Ok(Admitted::Requests(arrived)) => {
            return drop(Box::pin(destination::serve(*arrived, stream, read, record)).await);
        }
        Ok(Admitted::Bytes(app, held)) => relay_plaintext((&mut stream, read), (app, held), &record).await,
        Err(failed) => Err(failed),
    };
    match result {
        Ok(()) => record.close(Outcome::complete()),
        Err(failed) => {
            reset(&stream);
            record.close(failed.outcome());
        }
    }
}

async fn admit_plaintext(mesh: &Arc<Mesh>, server: &Server, record: &Open) -> Result<Admitted, Failed> {
    let now = mesh.snapshots.snapshot();
    let workload = mesh.identify(&now, server.pod.id())?;
    record.source(ends::peer(&now, server.peer.socket(), None));
    record.target(ends::received(&workload, server.original.socket(), None));
    let connection = Connection::new(&Peer::Anonymous, server.peer.ip(), server.original.socket());
    let admission = admit::connection((mesh, &now), &workload, &connection, record)?;
    drop(now);
    server.admitted(mesh, admission, workload, &connection).await
}

async fn relay_plaintext(
    (stream, read): (&mut TcpStream, Vec<u8>),
    (mut app, mut held): (TcpStream, Held),
    record: &Open,
) -> Result<(), Failed> {
    record.established();
    if !read.is_empty() {
        record.traffic().add_to_server(read.len());
        app.write_all(&read).await.at(Stage::Relay, "RESET")?;
    }
    let copying = async { tcp::copy(stream, &mut app, record.traffic()).await.at(Stage::Relay, "RESET") };
    held.during(copying).await.inspect_err(|_| reset(&app))
}

/// What is done with a connection that may come in, and that the application took.
pub enum Admitted {
    /// Its bytes go to the application.
    Bytes(TcpStream, Held),
    /// Its requests are decided about one by one.
    Requests(Box<Arrived>),
}

impl Server {
    /// A record of what came from this peer.
    pub fn record(&self, mesh: &Mesh) -> Open {
        let peer = Party::address(self.peer.socket());
        mesh.telemetry.open(Direction::Inbound, self.pod.id().clone(), peer, self.original)
    }

    /// What was let in, once the application takes it.
    ///
    /// # Errors
    /// The application does not take it.
    pub async fn admitted(
        &self,
        mesh: &Arc<Mesh>,
        admission: Admission,
        workload: Arc<Workload>,
        connection: &Connection<'_>,
    ) -> Result<Admitted, Failed> {
        let (address, client) = (connection.destination, connection.source);
        let (held, app) = match admission {
            Admission::Bytes(held) => return Ok(Admitted::Bytes(self.application(address, client).await?, held)),
            Admission::Requests(held, Otherwise::Later) => (held, None),
            Admission::Requests(held, Otherwise::Open) => (held, Some(self.application(address, client).await?)),
        };
        let (mesh, way, peer) = (Arc::clone(mesh), Way::Inside(Arc::clone(&self.pod)), connection.peer.clone());
        Ok(Admitted::Requests(Box::new(Arrived { mesh, way, workload, address, peer, client, held, app })))
    }

    /// A connection to the application, from the client's own address.
    ///
    /// # Errors
    /// The application does not take it.
    pub async fn application(&self, to: std::net::SocketAddr, client: IpAddr) -> Result<TcpStream, Failed> {
        dial::tcp(&self.pod, SocketIntent::Application, Some(client), to).await
    }
}
