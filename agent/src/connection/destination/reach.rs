//! What the agent itself asks of others: on behalf of the pod whose requests need it, as that pod's own connections go.

use super::Way;
use super::judge::Judge;
use crate::balance::{self, Endpoint};
use crate::capture::SocketIntent;
use crate::connection::admit::{self, Admission};
use crate::connection::dial::{self, Client, Manner};
use crate::connection::failed::{At, Failed};
use crate::connection::hop::{self, Hop};
use crate::connection::outbound::inner;
use crate::connection::requests::Io;
use crate::connection::{ATTEMPTS, CONNECT, Mesh, ends};
use crate::model::Workload;
use crate::model::traffic_policy::{ClientTls, ClientTlsMode, Roots};
use crate::policy::{self, Beyond, Connection, Peer, Permit};
use crate::relay::http::ask;
use crate::snapshot::Snapshot;
use crate::tunnel::origination::Inside;
use crate::tunnel::underpass::{self, SessionStream};
use crate::vocab::{Direction, Hostname, OrigDst, PeerAddr, Stage};
use ::http::header::{ACCEPT, HOST};
use ::http::{Request, Uri};
use bytes::Bytes;
use http_body_util::Full;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A key set or a discovery document is shorter.
const LONGEST: usize = 1 << 20;

impl Judge {
    /// The pod as a client.
    pub(super) fn as_client(&self) -> Option<Client> {
        pod((&self.mesh, &self.way), &self.workload, self.address)
    }
}

/// The pod that is reached this way, as a client; none where it is not captured. Nothing is asked out of another pod:
/// who is in there could answer.
pub(super) fn pod((mesh, way): (&Mesh, &Way), workload: &Arc<Workload>, at: SocketAddr) -> Option<Client> {
    let pod = match way {
        Way::Inside(pod) => Arc::clone(pod),
        Way::Local(_) => mesh.pods.get(&workload.id.pod)?,
    };
    let address = PeerAddr::new(SocketAddr::new(at.ip(), 0));
    Some(Client { pod, workload: Arc::clone(workload), address, manner: Manner::default() })
}

/// Fetches a document. A host that is a Service of the mesh is reached through the mesh, as `client`; any other as the
/// agent itself reaches it.
///
/// # Errors
/// The stage and reason.
pub async fn fetch(mesh: &Arc<Mesh>, client: &Client, url: &str) -> Result<Bytes, Failed> {
    let bad = |what: &str| Failed::new(Stage::Route, "NR", format!("{url}: {what}"));
    let uri: Uri = url.parse().map_err(|_| bad("no URL"))?;
    let host = uri.host().ok_or_else(|| bad("no host"))?.trim_matches(['[', ']']);
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = to_host(mesh, client, host, port).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::get(path).header(HOST, authority).header(ACCEPT, "application/json").body(Full::default());
    let request = request.at(Stage::Route, "NR")?;
    let answer = if secure {
        let trusting = ClientTls {
            mode: ClientTlsMode::Simple,
            sni: None,
            names: Vec::new(),
            roots: Roots::System,
            certificate: None,
            insecure: false,
            crl: None,
        };
        let connected = mesh.originator.connect((&trusting, host, Inside::Http1), &|_| None, stream).await;
        ask::once(connected.at(Stage::Tunnel, "TLS_FAILURE")?, request, LONGEST).await
    } else {
        ask::once(stream, request, LONGEST).await
    };
    let answer = answer.at(Stage::Relay, "UC")?;
    if answer.status().is_success() { Ok(answer.into_body()) } else { Err(bad(&format!("{}", answer.status()))) }
}

/// A stream to a host: through the mesh where it is a Service of it.
///
/// # Errors
/// The stage and reason.
pub async fn to_host(mesh: &Arc<Mesh>, client: &Client, host: &str, port: u16) -> Result<Io, Failed> {
    let now = mesh.snapshots.snapshot();
    let names = [host.to_owned(), format!("{host}.svc.cluster.local")].map(|name| Hostname::from(name.as_str()));
    if let Some(service) = names.iter().find(|name| now.routes.hosts.contains_key(name.as_str())) {
        return to_service(mesh, client, service, port).await;
    }
    let connecting = TcpStream::connect((host, port));
    match timeout(CONNECT, connecting).await {
        Ok(stream) => Ok(Io::Tcp(stream.at(Stage::Tunnel, "CONNECT")?)),
        Err(_) => Err(Failed::new(Stage::Tunnel, "CONNECT", format!("{host}:{port}: no answer within {CONNECT:?}"))),
    }
}

/// A stream to a Service of the mesh, as `client`.
///
/// # Errors
/// The stage and reason.
pub async fn to_service(mesh: &Arc<Mesh>, client: &Client, host: &Hostname, port: u16) -> Result<Io, Failed> {
    let now = mesh.snapshots.snapshot();
    let missing = || Failed::new(Stage::Route, "NR", format!("{host} has no port {port}"));
    let backends = now.routes.backends(host).ok_or_else(missing)?;
    let found = backends.port(port).ok_or_else(missing)?;
    let upstream = backends.upstream(&client.workload, found, None).ok_or_else(missing)?;
    let virtual_address = backends.addresses().first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let used = OrigDst::new(SocketAddr::new(virtual_address, port));
    let permit = policy::authorize_outbound(&now.policies, &client.workload, Beyond::No).at(Stage::Policy, "DENY")?;
    let caller = client.caller(used, None);
    let mut tried = Vec::new();
    loop {
        let endpoint = balance::pick(&upstream.group, &caller, &tried, &mut fastrand::Rng::new());
        let none = || Failed::new(Stage::Balance, "UH", format!("{host} has no endpoint"));
        let endpoint = endpoint.ok_or_else(none)?;
        tried.push(endpoint.address);
        match to_endpoint(mesh, (client, &now), &endpoint, &permit).await {
            Err(failed) if tried.len() < ATTEMPTS && failed.stage == Stage::Tunnel => {
                tracing::debug!(%failed, "another endpoint is tried");
            }
            reached => return reached,
        }
    }
}

async fn to_endpoint(
    mesh: &Arc<Mesh>,
    (client, now): (&Client, &Snapshot),
    endpoint: &Endpoint,
    permit: &Permit,
) -> Result<Io, Failed> {
    let address = endpoint.address;
    match hop::to(mesh, endpoint, None) {
        Hop::SameNode(workload) => {
            let peer = Peer::Local(client.workload.identity.clone());
            let connection = Connection::new(&peer, client.address.ip(), address);
            let source = ends::proven(&client.workload, client.address.socket());
            let pod = workload.id.pod.clone();
            let record = mesh.telemetry.open(Direction::Inbound, pod, source, OrigDst::new(address));
            record.target(ends::received(&workload, address, None));
            match admit::connection((mesh, now), &workload, &connection, &record) {
                Ok(Admission::Requests(held, otherwise)) => {
                    let to = ((&workload, address), peer.clone());
                    Ok(Io::Inner(inner::begin(mesh, client.clone(), to, (held, otherwise, record)).await?.io))
                }
                Ok(Admission::Bytes(_)) => Ok(Io::Tcp(client.tcp(SocketIntent::Application, address).await?)),
                Err(failed) => {
                    record.close(failed.outcome());
                    Err(failed)
                }
            }
        }
        Hop::Underpass(workload) => {
            let (_, mut session) = dial::session(mesh, client, (&workload, address), permit).await?;
            let source = client.address.socket();
            let open = underpass::Open { destination: address, source, confirm: true };
            session.open(&open).at(Stage::Tunnel, "TUNNEL")?;
            session.accepted().await.at(Stage::Tunnel, "CONNECT")?;
            Ok(Io::Session(Box::new(SessionStream::new(session))))
        }
        Hop::Hbone(workload) => Ok(Io::Hbone(dial::hbone(mesh, client, (&workload, address), permit).await?)),
        Hop::Plaintext => Ok(Io::Tcp(client.tcp(SocketIntent::Tunnel, address).await?)),
        Hop::Forbidden => Err(Failed::new(Stage::Tunnel, "TLS_FAILURE", hop::FORBIDDEN)),
    }
}
