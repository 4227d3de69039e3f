//! From a pod of this node into the mesh.

use super::dial::{self, Client};
use super::ends::{self, Proof};
use super::failed::{At, Failed};
use super::hop::{self, Hop};
use super::{ATTEMPTS, Mesh, requests, reset};
use crate::balance::{self, Endpoint, Overflow};
use crate::capture::{Captured, Pod, SocketIntent};
use crate::model::Workload;
use crate::policy::{self, Peer, Permit};
use crate::relay::tcp;
use crate::route::{self, Plan, ServiceRef, Upstream};
use crate::snapshot::Snapshot;
use crate::telemetry::{Open, Outcome, Party};
use crate::tunnel::underpass::{self, CarryError, RefusalCode, Role};
use crate::vocab::{Direction, OrigDst, PeerAddr, Stage};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Serves one captured connection to its end and records it once.
pub async fn serve(mesh: &Arc<Mesh>, captured: Captured) {
    let Captured { stream: mut app, pod, original, peer } = captured;
    let peer = own_address(&pod, peer, original);
    let record = mesh.telemetry.open(Direction::Outbound, pod.id().clone(), Party::address(peer.socket()), original);
    let now = mesh.snapshots.snapshot();
    let result = match mesh.identify(&now, pod.id()) {
        Ok(workload) => {
            record.source(ends::proven(&workload, peer.socket()));
            let client = Client { pod, workload, address: peer };
            match plan(&now, &client, original) {
                Ok((Plan::Http(table), _)) => {
                    return requests::serve(mesh, client, (table, original), app, record).await;
                }
                Ok((plan, permit)) => {
                    let outbound = Outbound { mesh, now, client, original, permit, record: &record };
                    outbound.follow(plan, &mut app).await
                }
                Err(failed) => Err(failed),
            }
        }
        Err(failed) => Err(failed),
    };
    match result {
        Ok(()) => record.close(Outcome::complete()),
        Err(failed) => {
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

fn plan(now: &Snapshot, client: &Client, original: OrigDst) -> Result<(Plan, Permit), Failed> {
    let permit = policy::authorize_outbound(&now.policies, &client.workload, original).at(Stage::Policy, "DENY")?;
    Ok((route::resolve(&now.routes, &client.workload, original, &mut fastrand::Rng::new()), permit))
}

/// One outbound connection under way, by one generation of configuration.
struct Outbound<'a> {
    mesh: &'a Mesh,
    now: Arc<Snapshot>,
    client: Client,
    original: OrigDst,
    permit: Permit,
    record: &'a Open,
}

/// An endpoint, and the service it was chosen for.
type To<'a> = (&'a Arc<Endpoint>, Option<&'a Arc<ServiceRef>>);

/// How an attempt at one endpoint ended without success.
enum Attempt {
    /// Nothing reached the application: another endpoint may be tried, with these bytes first.
    Again(Failed, Vec<u8>),
    /// It is over.
    Over(Failed),
}

impl Outbound<'_> {
    async fn follow(&self, plan: Plan, app: &mut TcpStream) -> Result<(), Failed> {
        match plan {
            Plan::Passthrough => self.passthrough(app).await,
            Plan::Workload(endpoint) => self.one(&Arc::new(endpoint), app).await,
            Plan::Tcp(upstream) => self.balanced(&upstream, app).await,
            Plan::Http(_) => Err(Failed::new(Stage::Route, "NR", "requests are routed elsewhere")),
            Plan::Refused(refusal) => {
                if let Some(service) = refusal.service() {
                    self.record.service(ends::service(service));
                }
                Err(Failed::new(Stage::Route, refusal.flag(), refusal))
            }
        }
    }

    /// A destination that the mesh does not know: as the pod itself would have gone there.
    async fn passthrough(&self, app: &mut TcpStream) -> Result<(), Failed> {
        let to = self.original.socket();
        self.record.target(ends::plaintext(None, None, to));
        let mut server = dial::tcp(&self.client.pod, SocketIntent::Tunnel, None, to).await?;
        self.record.established();
        let copied = tcp::copy(app, &mut server, self.record.traffic()).await;
        copied.inspect_err(|_| reset(&server)).at(Stage::Relay, "RESET")
    }

    async fn one(&self, endpoint: &Arc<Endpoint>, app: &mut TcpStream) -> Result<(), Failed> {
        match self.attempt((endpoint, None), app, Vec::new()).await {
            Ok(()) => Ok(()),
            Err(Attempt::Again(failed, _) | Attempt::Over(failed)) => Err(failed),
        }
    }

    /// A service: another endpoint is tried while nothing has reached an application.
    async fn balanced(&self, upstream: &Upstream, app: &mut TcpStream) -> Result<(), Failed> {
        let _slot = upstream.admit_connection().at(Stage::Balance, Overflow::FLAG)?;
        let hash = upstream.hash_connection(self.client.address.ip());
        let (mut tried, mut first): (Vec<SocketAddr>, _) = (Vec::new(), Vec::new());
        let mut last = Failed::new(Stage::Balance, "UH", "no endpoint is left to try");
        while tried.len() < ATTEMPTS {
            let caller = self.client.caller(self.original, hash);
            let Some(endpoint) = balance::pick(&upstream.group, &caller, &tried, &mut fastrand::Rng::new()) else {
                break;
            };
            tried.push(endpoint.address);
            match self.attempt((&endpoint, Some(&upstream.service)), app, first).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Again(failed, unsent)) => (last, first) = (failed, unsent),
                Err(Attempt::Over(failed)) => return Err(failed),
            }
        }
        Err(last)
    }

    async fn attempt(&self, to: To<'_>, app: &mut TcpStream, first: Vec<u8>) -> Result<(), Attempt> {
        let _load = to.0.begin();
        let hop = hop::to(self.mesh, to.0);
        self.record.target(ends::target(&hop, to.0, to.1, Proof::None));
        match hop {
            Hop::SameNode(workload) => self.same_node(&workload, to, app, first).await,
            Hop::Plaintext => self.straight(to.0, app, first, SocketIntent::Tunnel).await,
            Hop::Underpass(workload) => self.session(&workload, to, app, first).await,
            Hop::Hbone(workload) => self.hbone(&workload, to, app, first).await,
        }
    }

    /// A pod of this node: its inbound policy is asked here, and both ends are recorded here.
    async fn same_node(
        &self,
        workload: &Arc<Workload>,
        to: To<'_>,
        app: &mut TcpStream,
        first: Vec<u8>,
    ) -> Result<(), Attempt> {
        let target = ends::target(&Hop::SameNode(Arc::clone(workload)), to.0, to.1, Proof::None);
        let twin = ends::inbound_twin(self.record, &self.client, target, (workload, to.0.address));
        let peer = Peer::Local(self.client.workload.identity.clone());
        let allowed = policy::authorize_inbound(&self.now.policies, workload, to.0.address.port(), &peer);
        let result = match allowed.at(Stage::Policy, "DENY") {
            Ok(_) => {
                twin.established();
                self.straight(to.0, app, first, SocketIntent::Application).await
            }
            Err(failed) => Err(Attempt::Over(failed)),
        };
        twin.close(match &result {
            Ok(()) => Outcome::complete(),
            Err(Attempt::Again(failed, _) | Attempt::Over(failed)) => failed.outcome(),
        });
        result
    }

    async fn straight(
        &self,
        endpoint: &Endpoint,
        app: &mut TcpStream,
        first: Vec<u8>,
        intent: SocketIntent,
    ) -> Result<(), Attempt> {
        let connected = dial::tcp(&self.client.pod, intent, None, endpoint.address).await;
        let mut server = match connected {
            Ok(server) => server,
            Err(failed) => return Err(Attempt::Again(failed, first)),
        };
        self.record.established();
        server.write_all(&first).await.at(Stage::Relay, "RESET").map_err(Attempt::Over)?;
        let copied = tcp::copy(app, &mut server, self.record.traffic()).await;
        copied.inspect_err(|_| reset(&server)).at(Stage::Relay, "RESET").map_err(Attempt::Over)
    }

    async fn session(
        &self,
        workload: &Arc<Workload>,
        to: To<'_>,
        app: &mut TcpStream,
        first: Vec<u8>,
    ) -> Result<(), Attempt> {
        let opened = dial::session(self.mesh, &self.client, (workload, to.0.address), &self.permit).await;
        let (key, mut session) = match opened {
            Ok(opened) => opened,
            Err(failed) => return Err(Attempt::Again(failed, first)),
        };
        let hop = Hop::Underpass(Arc::clone(workload));
        self.record.target(ends::target(&hop, to.0, to.1, Proof::Handshake(ends::tls(session.tls().info()))));
        self.record.established();
        let (destination, source) = (to.0.address, self.client.address.socket());
        let opened = session.open(&underpass::Open { destination, source, confirm: false });
        if let Err(error) = opened {
            return Err(Attempt::Again(Failed::new(Stage::Tunnel, "TUNNEL", error), first));
        }
        match session.carry(app, Role::Client(&first), self.record.traffic()).await {
            Ok(()) => {
                // A pod that was let go meanwhile leaves no warm session behind.
                if !self.client.pod.gone().is_cancelled() {
                    self.mesh.sessions.give(key, session);
                }
                Ok(())
            }
            Err(error) => Err(after_carry(error)),
        }
    }

    async fn hbone(
        &self,
        workload: &Arc<Workload>,
        to: To<'_>,
        app: &mut TcpStream,
        first: Vec<u8>,
    ) -> Result<(), Attempt> {
        let opened = dial::hbone(self.mesh, &self.client, (workload, to.0.address), &self.permit).await;
        let mut tunnel = match opened {
            Ok(opened) => opened,
            Err(failed) => return Err(Attempt::Again(failed, first)),
        };
        self.record.target(ends::target(&Hop::Hbone(Arc::clone(workload)), to.0, to.1, Proof::Earlier));
        self.record.established();
        let written = tunnel.write_all(&first).await;
        written.at(Stage::Relay, "RESET").map_err(Attempt::Over)?;
        let copied = tcp::copy(app, &mut tunnel, self.record.traffic()).await;
        copied.at(Stage::Relay, "RESET").map_err(Attempt::Over)
    }
}

fn after_carry(error: CarryError) -> Attempt {
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
            Attempt::Again(failed, unsent)
        }
        _ => Attempt::Over(failed),
    }
}
