//! From a pod of this node into the mesh.

mod dressed;
pub(super) mod inner;
mod said;

use super::admissions::Held;
use super::admit::Admission;
use super::dial::{self, Client, Manner};
use super::dress::Dress;
use super::ends::{self, Proof};
use super::failed::{At, Failed};
use super::hop::{self, Hop};
use super::lifetime::Lifetime;
use super::{ATTEMPTS, Mesh, admit, requests, reset};
use crate::balance::{self, Endpoint, Overflow};
use crate::capture::{Captured, Pod, SocketIntent};
use crate::model::Workload;
use crate::policy::{self, Beyond, Connection, Peer, Permit};
use crate::relay::rewound::Rewound;
use crate::relay::tcp;
use crate::route::{self, HttpTable, Plan, ServiceRef, Upstream};
use crate::snapshot::Snapshot;
use crate::telemetry::{Open, Outcome, Party, Target};
use crate::tunnel::underpass::{self, CarryError, RefusalCode, Role};
use crate::vocab::{Direction, OrigDst, PeerAddr, Stage};
use said::Said;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Serves one captured connection to its end and records it once.
pub async fn serve(mesh: &Arc<Mesh>, captured: Captured) {
    let Captured { stream: mut app, pod, original, peer } = captured;
    let peer = own_address(&pod, peer, original);
    let record = mesh.telemetry.open(Direction::Outbound, pod.id().clone(), Party::address(peer.socket()), original);
    let now = mesh.snapshots.snapshot();
    let (result, client) = match mesh.identify(&now, pod.id()) {
        Ok(workload) => {
            record.source(ends::proven(&workload, peer.socket()));
            let client = Client { pod, workload, address: peer, manner: Manner::default() };
            match plan(&now, &client, original, &record) {
                Ok((plan, permit)) => {
                    let outbound = Outbound { mesh, now, client, original, permit: &permit, record: &record };
                    (outbound.follow(plan, &mut app).await, Some(outbound.client))
                }
                Err(failed) => (Err(failed), None),
            }
        }
        Err(failed) => (Err(failed), None),
    };
    match (result, client) {
        (Ok(Carried::Requests(table, read)), Some(client)) => {
            requests::serve(mesh, client, (table, original), Rewound::new(read, app), record).await;
        }
        (Ok(_), _) => record.close(Outcome::complete()),
        (Err(failed), _) => {
            reset(&app);
            record.close(failed.outcome());
        }
    }
}

/// The captured connection comes over the pod's loopback; the pod is known to others by its own address.
fn own_address(pod: &Pod, peer: PeerAddr, original: OrigDst) -> PeerAddr {
    let own = pod.addresses().iter().find(|ip| ip.is_ipv4() == original.ip().is_ipv4());
    own.map_or(peer, |ip| PeerAddr::new(SocketAddr::new(*ip, peer.port())))
}

fn plan(now: &Snapshot, client: &Client, original: OrigDst, record: &Open) -> Result<(Plan, Permit), Failed> {
    let plan = route::resolve(&now.routes, &client.workload, original, &mut fastrand::Rng::new());
    let beyond = if matches!(plan, Plan::Passthrough) { Beyond::Yes } else { Beyond::No };
    let permit = policy::authorize_outbound(&now.policies, &client.workload, beyond);
    if beyond == Beyond::Yes {
        record.service(ends::beyond(permit.is_ok()));
    }
    Ok((plan, permit.at(Stage::Policy, "UH")?))
}

/// One outbound connection under way, by one generation of configuration.
struct Outbound<'a> {
    mesh: &'a Arc<Mesh>,
    now: Arc<Snapshot>,
    client: Client,
    original: OrigDst,
    permit: &'a Permit,
    record: &'a Open,
}

/// An endpoint, and the service it was chosen for.
type To<'a> = (&'a Arc<Endpoint>, Option<&'a Arc<ServiceRef>>);

/// What became of a connection.
enum Carried {
    /// It was carried to its end.
    Whole,
    /// It speaks HTTP, beginning with these bytes: its requests are routed by this.
    Requests(HttpTable, Vec<u8>),
}

/// How an attempt at one endpoint ended without success.
enum Attempt {
    /// Nothing reached the application: another endpoint may be tried.
    Again(Failed),
    /// It is over.
    Over(Failed),
    /// The client has spoken meanwhile, and belongs elsewhere.
    Turned(Plan),
}

impl Outbound<'_> {
    async fn follow(&self, mut plan: Plan, app: &mut TcpStream) -> Result<Carried, Failed> {
        let mut said = Said::default();
        loop {
            let turned = match plan {
                Plan::Passthrough => self.passthrough(app).await?,
                Plan::Workload(endpoint) => self.one(&Arc::new(endpoint), app, &mut said).await?,
                Plan::Tcp(upstream) => self.balanced(&upstream, app, &mut said).await?,
                Plan::Undecided(undecided) => Some(self.hear(undecided, app, &mut said).await?),
                Plan::Http(table) => {
                    // An endpoint that was tried in vain is not where the requests go.
                    self.record.target(Target::default());
                    return Ok(Carried::Requests(table, said.read));
                }
                Plan::Refused(refusal) => {
                    if let Some(service) = refusal.service() {
                        self.record.service(ends::service(service));
                    }
                    return Err(Failed::new(Stage::Route, refusal.flag(), refusal));
                }
            };
            match turned {
                Some(other) => plan = other,
                None => return Ok(Carried::Whole),
            }
        }
    }

    /// A destination that the mesh does not know: as the pod itself would have gone there.
    async fn passthrough(&self, app: &mut TcpStream) -> Result<Option<Plan>, Failed> {
        let to = self.original.socket();
        let service = Some(ends::beyond(true));
        self.record.target(Target { service, ..ends::plaintext(None, None, to) });
        let mut server = dial::tcp(&self.client.pod, SocketIntent::Tunnel, None, to).await?;
        self.record.established();
        let copied = tcp::copy(app, &mut server, self.record.traffic()).await;
        copied.inspect_err(|_| reset(&server)).at(Stage::Relay, "RESET").map(|()| None)
    }

    async fn one(
        &self,
        endpoint: &Arc<Endpoint>,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<Option<Plan>, Failed> {
        match self.attempt((endpoint, None), None, app, said).await {
            Ok(()) => Ok(None),
            Err(Attempt::Turned(plan)) => Ok(Some(plan)),
            Err(Attempt::Again(failed) | Attempt::Over(failed)) => Err(failed),
        }
    }

    /// A service: another endpoint is tried while nothing has reached an application.
    async fn balanced(
        &self,
        upstream: &Upstream,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<Option<Plan>, Failed> {
        let _slot = upstream.admit_connection().at(Stage::Balance, Overflow::FLAG)?;
        let hash = upstream.hash_connection(self.client.address.ip());
        let mut tried: Vec<SocketAddr> = Vec::new();
        let this = self.under(upstream);
        let lifetime = Lifetime::of(&upstream.policy);
        let mut last = Failed::new(Stage::Balance, "UH", "no endpoint is left to try");
        while tried.len() < ATTEMPTS {
            let caller = self.client.caller(self.original, hash);
            let Some(endpoint) = balance::pick(&upstream.group, &caller, &tried, &mut fastrand::Rng::new()) else {
                break;
            };
            tried.push(endpoint.address);
            let result = tokio::select! {
                biased;
                ended = this.attempt((&endpoint, Some(&upstream.service)), Some(upstream), app, said) => ended,
                expired = lifetime.expired(self.record.traffic()) => Err(Attempt::Over(expired)),
            };
            settle(&endpoint, &result);
            match result {
                Ok(()) => return Ok(None),
                Err(Attempt::Turned(plan)) => return Ok(Some(plan)),
                Err(Attempt::Again(failed)) => last = failed,
                Err(Attempt::Over(failed)) => return Err(failed),
            }
        }
        Err(last)
    }

    /// The same connection, made as the policy of an upstream says.
    fn under(&self, upstream: &Upstream) -> Outbound<'_> {
        let (now, client) = (Arc::clone(&self.now), self.client.under(upstream));
        Outbound { mesh: self.mesh, now, client, original: self.original, permit: self.permit, record: self.record }
    }

    async fn attempt(
        &self,
        to: To<'_>,
        upstream: Option<&Upstream>,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let _load = to.0.begin();
        let hop = hop::to(self.mesh, to.0, upstream.and_then(|upstream| upstream.policy.tls.as_ref()));
        self.record.target(ends::target(&hop, to.0, to.1, Proof::None));
        let dress = upstream.and_then(|upstream| Dress::of_bytes(upstream, self.client.address, self.original));
        if let Some(dress) = dress {
            return Box::pin(self.dressed((hop, to), &dress, app, said)).await;
        }
        match hop {
            Hop::SameNode(workload) => self.same_node(&workload, to, app, said).await,
            Hop::Plaintext => self.straight(to.0, app, said, (SocketIntent::Tunnel, None)).await,
            Hop::Underpass(workload) => self.session(&workload, to, app, said).await,
            Hop::Hbone(workload) => self.hbone(&workload, to, app, said).await,
            Hop::Forbidden => Err(Attempt::Again(Failed::new(Stage::Tunnel, "TLS_FAILURE", hop::FORBIDDEN))),
        }
    }

    /// A pod of this node: its inbound policy is asked here, and both ends are recorded here.
    async fn same_node(
        &self,
        workload: &Arc<Workload>,
        to: To<'_>,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let target = ends::target(&Hop::SameNode(Arc::clone(workload)), to.0, to.1, Proof::None);
        let twin = ends::inbound_twin(self.record, &self.client, target, (workload, to.0.address));
        let peer = Peer::Local(self.client.workload.identity.clone());
        let connection = Connection::new(&peer, self.client.address.ip(), to.0.address);
        let result = match admit::connection((self.mesh, &self.now), workload, &connection, &twin) {
            Ok(Admission::Requests(held, otherwise)) => {
                let to = (workload, to.0.address);
                return Box::pin(self.inner((to, peer), (held, otherwise, twin), app, said)).await;
            }
            Ok(Admission::Bytes(held)) => {
                twin.established();
                self.straight(to.0, app, said, (SocketIntent::Application, Some(held))).await
            }
            Err(failed) => Err(Attempt::Over(failed)),
        };
        twin.close(match &result {
            Ok(()) | Err(Attempt::Turned(_)) => Outcome::complete(),
            Err(Attempt::Again(failed) | Attempt::Over(failed)) => failed.outcome(),
        });
        result
    }

    async fn straight(
        &self,
        endpoint: &Endpoint,
        app: &mut TcpStream,
        said: &mut Said,
        (intent, held): (SocketIntent, Option<Held>),
    ) -> Result<(), Attempt> {
        let connected = self.client.tcp(intent, endpoint.address).await;
        let mut server = match connected {
            Ok(server) => server,
            Err(failed) => return Err(Attempt::Again(failed)),
        };
        let mut byte = [0];
        let speaks = async { drop(server.peek(&mut byte).await) };
        self.decide(app, said, speaks).await?;
        self.record.established();
        endpoint.settle(balance::Outcome::Connected, Instant::now());
        server.write_all(said.read_once(self.record)).await.at(Stage::Relay, "RESET").map_err(Attempt::Over)?;
        let copying = async { tcp::copy(app, &mut server, self.record.traffic()).await.at(Stage::Relay, "RESET") };
        let copied = match held {
            Some(mut held) => held.during(copying).await,
            None => copying.await,
        };
        copied.inspect_err(|_| reset(&server)).map_err(Attempt::Over)
    }

    async fn session(
        &self,
        workload: &Arc<Workload>,
        to: To<'_>,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let opened = dial::session(self.mesh, &self.client, (workload, to.0.address), self.permit).await;
        let (key, mut session) = match opened {
            Ok(opened) => opened,
            Err(failed) => return Err(Attempt::Again(failed)),
        };
        let hop = Hop::Underpass(Arc::clone(workload));
        self.record.target(ends::target(&hop, to.0, to.1, Proof::Handshake(ends::tls(session.info()))));
        let (destination, source) = (to.0.address, self.client.address.socket());
        let opened = session.open(&underpass::Open { destination, source, confirm: false });
        opened.at(Stage::Tunnel, "TUNNEL").map_err(Attempt::Again)?;
        if said.undecided.is_some() {
            session.flush().await.at(Stage::Tunnel, "TUNNEL").map_err(Attempt::Again)?;
            let mut byte = [0];
            let speaks = async {
                if let Some(tcp) = session.tcp() {
                    drop(tcp.peek(&mut byte).await);
                }
            };
            if let Err(turned) = self.decide(app, said, speaks).await {
                // As a stream, it says farewell to the application when it is let go.
                drop(underpass::SessionStream::new(session));
                return Err(turned);
            }
        }
        self.record.established();
        match session.carry(app, Role::Client(said.read_once(self.record)), self.record.traffic()).await {
            Ok(()) => {
                // A pod that was let go meanwhile leaves no warm session behind.
                if !self.client.pod.gone().is_cancelled() {
                    self.mesh.sessions.give(key, session);
                }
                Ok(())
            }
            Err(error) => Err(after_carry(error, said)),
        }
    }

    async fn hbone(
        &self,
        workload: &Arc<Workload>,
        to: To<'_>,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let opened = dial::hbone(self.mesh, &self.client, (workload, to.0.address), self.permit).await;
        let mut tunnel = match opened {
            Ok(opened) => opened,
            Err(failed) => return Err(Attempt::Again(failed)),
        };
        self.record.target(ends::target(&Hop::Hbone(Arc::clone(workload)), to.0, to.1, Proof::Earlier));
        let speaks = async { drop(tunnel.heard().await) };
        if let Err(turned) = self.decide(app, said, speaks).await {
            let _ = tunnel.shutdown().await;
            return Err(turned);
        }
        self.record.established();
        to.0.settle(balance::Outcome::Connected, Instant::now());
        let written = tunnel.write_all(said.read_once(self.record)).await;
        written.at(Stage::Relay, "RESET").map_err(Attempt::Over)?;
        let copied = tcp::copy(app, &mut tunnel, self.record.traffic()).await;
        copied.at(Stage::Relay, "RESET").map_err(Attempt::Over)
    }
}

/// For outlier detection: what could not be reached failed, unless a policy said so; what was reached did not, whatever
/// came of it then.
fn settle(endpoint: &Endpoint, result: &Result<(), Attempt>) {
    let outcome = match result {
        Err(Attempt::Turned(_)) => return,
        Err(Attempt::Again(failed) | Attempt::Over(failed)) if failed.stage == Stage::Policy => return,
        Err(Attempt::Again(_)) => balance::Outcome::Failed,
        Err(Attempt::Over(failed)) if failed.flag == "CONNECT" => balance::Outcome::Failed,
        Ok(()) | Err(Attempt::Over(_)) => balance::Outcome::Connected,
    };
    endpoint.settle(outcome, Instant::now());
}

fn after_carry(error: CarryError, said: &mut Said) -> Attempt {
    let flag = match &error {
        CarryError::Refused { code: RefusalCode::Denied, .. } => "DENY",
        CarryError::Refused { .. } => "CONNECT",
        CarryError::App(_) | CarryError::PeerReset | CarryError::Left => "RESET",
        CarryError::Session(_) => "TUNNEL",
    };
    let stage = if flag == "DENY" { Stage::Policy } else { Stage::Relay };
    let failed = Failed::new(stage, flag, &error);
    match error {
        CarryError::Refused { code: RefusalCode::Unreachable, retained: Some(unsent), .. } => {
            said.unsent(unsent);
            Attempt::Again(failed)
        }
        _ => Attempt::Over(failed),
    }
}
