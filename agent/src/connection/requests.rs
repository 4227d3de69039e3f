//! A captured connection whose requests are routed one by one, each over its own hop.

use super::dial::{self, Client};
use super::ends::{self, Proof};
use super::failed::{At, Failed};
use super::hop::{self, Hop};
use super::{ATTEMPTS, Mesh};
use crate::balance::{self, Endpoint, InFlight};
use crate::capture::SocketIntent;
use crate::model::Workload;
use crate::policy::{self, Peer, Permit};
use crate::relay::http::{self, DialError, Dialed, Limits, Refused, RequestOutcome, Upstreams};
use crate::route::{self, HttpTable, Plan, Refusal, Upstream, Verdict};
use crate::snapshot::Snapshot;
use crate::telemetry::{Open, Outcome, Protocol, RequestRecord, Target};
use crate::tunnel::hbone;
use crate::tunnel::underpass::{self, CarryError, RefusalCode, Report, ReportSink, SessionStream};
use crate::vocab::{OrigDst, SpiffeId, Stage};
use ::http::StatusCode;
use ::http::request::Parts;
use fastrand::Rng;
use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The routes of one captured connection.
pub struct Requests {
    mesh: Arc<Mesh>,
    client: Client,
    /// As it was when the connection was made; each request asks for the one in force.
    table: HttpTable,
    original: OrigDst,
    record: Arc<Open>,
}

/// Serves the requests of one captured connection to its end and records it once.
pub async fn serve(
    mesh: &Arc<Mesh>,
    client: Client,
    (table, original): (HttpTable, OrigDst),
    app: TcpStream,
    record: Open,
) {
    record.service(ends::service(table.service()));
    record.protocol(Protocol::Http);
    record.established();
    let record = Arc::new(record);
    let drain = client.pod.gone().clone().cancelled_owned();
    let upstreams = Requests { mesh: Arc::clone(mesh), client, table, original, record: Arc::clone(&record) };
    let pool = Arc::clone(&mesh.requests);
    let served = http::serve(app, Arc::new(upstreams), pool, Limits::default(), drain).await;
    let outcome = match served {
        Ok(()) => Outcome::complete(),
        Err(error) => Outcome::failed("DPE", Stage::Relay, error),
    };
    record.end(outcome);
}

/// One request's endpoint.
#[derive(Clone)]
pub struct Chosen(Arc<Choice>);

struct Choice {
    endpoint: Arc<Endpoint>,
    upstream: Arc<Upstream>,
    hop: Hop,
    permit: Permit,
    _load: InFlight,
}

/// Whom an upstream connection belongs to: it is never shared with another source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    source: IpAddr,
    source_id: SpiffeId,
    destination: SocketAddr,
    destination_id: Option<SpiffeId>,
}

/// What is remembered of an upstream connection, for each of its requests.
#[derive(Clone)]
pub struct Carrier {
    target: Arc<Target>,
    reports: Option<ReportSink>,
    twin: Option<Arc<Open>>,
}

impl Upstreams for Requests {
    type Io = Io;
    type Handle = Carrier;
    type Target = Chosen;
    type Key = Key;

    fn route(&self, request: &Parts) -> Result<Chosen, Refused> {
        let now = self.mesh.snapshots.load();
        let permit = policy::authorize_outbound(&now.policies, &self.client.workload, self.original)
            .map_err(|denied| refused(StatusCode::FORBIDDEN, "UAEX", denied.to_string()))?;
        let upstream = self.upstream(&now, request);
        let upstream = upstream.map_err(|refusal| refused(refusal.status(), refusal.flag(), refusal.to_string()))?;
        let affinity = upstream.hash(request, self.client.address.ip());
        let caller = self.client.caller(self.original, affinity.hash);
        let endpoint = balance::pick(&upstream.group, &caller, &[], &mut Rng::new());
        let endpoint = endpoint.ok_or_else(|| refused(StatusCode::SERVICE_UNAVAILABLE, "UH", "no healthy upstream"))?;
        Ok(self.chosen(endpoint, upstream, permit))
    }

    fn key(&self, target: &Chosen) -> Key {
        Key {
            source: self.client.address.ip(),
            source_id: self.client.workload.identity.clone(),
            destination: target.0.endpoint.address,
            destination_id: target.0.endpoint.workload.as_ref().map(|workload| workload.identity.clone()),
        }
    }

    async fn dial(&self, target: &Chosen) -> Result<Dialed<Io, Carrier>, DialError> {
        let dialed = match &target.0.hop {
            Hop::SameNode(_) => self.same_node(&target.0).await,
            Hop::Plaintext => self.straight(&target.0, SocketIntent::Tunnel, None).await,
            Hop::Underpass(_) => self.session(&target.0).await,
            Hop::Hbone(_) => self.hbone(&target.0).await,
        };
        dialed.map_err(|failed| DialError {
            flag: if failed.stage == Stage::Policy { "UAEX" } else { "UF" },
            retriable: failed.stage != Stage::Policy,
            reason: Cow::Owned(failed.reason),
        })
    }

    fn another(&self, tried: &[Chosen]) -> Option<Chosen> {
        let last = tried.last().filter(|_| tried.len() < ATTEMPTS)?;
        let addresses: Vec<SocketAddr> = tried.iter().map(|target| target.0.endpoint.address).collect();
        let caller = self.client.caller(self.original, None);
        let endpoint = balance::pick(&last.0.upstream.group, &caller, &addresses, &mut Rng::new())?;
        let now = self.mesh.snapshots.load();
        let original = OrigDst::new(endpoint.address);
        let permit = policy::authorize_outbound(&now.policies, &self.client.workload, original).ok()?;
        Some(self.chosen(endpoint, Arc::clone(&last.0.upstream), permit))
    }

    fn finished(&self, target: Option<&Chosen>, carrier: Option<&Carrier>, outcome: &RequestOutcome) {
        let record = request(outcome);
        let Some(carrier) = carrier else {
            let target = match target {
                Some(chosen) => chosen.0.target(Proof::None),
                None => Target { service: Some(ends::service(self.table.service())), ..Target::default() },
            };
            return self.record.request(&Arc::new(target), record);
        };
        if let Some(twin) = &carrier.twin {
            twin.request(&carrier.target, record.clone());
        }
        if let Some(reports) = &carrier.reports {
            reports.push(&report(outcome));
        }
        self.record.request(&carrier.target, record);
    }
}

impl Requests {
    /// By the configuration of now: a connection that lives long follows every change.
    fn upstream(&self, now: &Snapshot, request: &Parts) -> Result<Arc<Upstream>, Refusal> {
        let (workload, mut rng) = (&self.client.workload, Rng::new());
        match route::resolve(&now.routes, workload, self.original, &mut rng) {
            Plan::Http(table) => forwarded(&table, workload, request, &mut rng),
            Plan::Tcp(upstream) => Ok(upstream),
            Plan::Refused(refusal) => Err(refusal),
            // The service is gone; the rules that were in force when the connection was made hold to its end.
            Plan::Passthrough | Plan::Workload(_) => forwarded(&self.table, workload, request, &mut rng),
        }
    }

    fn chosen(&self, endpoint: Arc<Endpoint>, upstream: Arc<Upstream>, permit: Permit) -> Chosen {
        let (hop, load) = (hop::to(&self.mesh, &endpoint), endpoint.begin());
        Chosen(Arc::new(Choice { endpoint, upstream, hop, permit, _load: load }))
    }

    async fn straight(
        &self,
        choice: &Choice,
        intent: SocketIntent,
        twin: Option<Arc<Open>>,
    ) -> Result<Dialed<Io, Carrier>, Failed> {
        let stream = dial::tcp(&self.client.pod, intent, None, choice.endpoint.address).await?;
        let handle = Carrier { target: Arc::new(choice.target(Proof::None)), reports: None, twin };
        Ok(Dialed { io: Io::Tcp(stream), handle })
    }

    async fn same_node(&self, choice: &Choice) -> Result<Dialed<Io, Carrier>, Failed> {
        let Hop::SameNode(workload) = &choice.hop else {
            return Err(Failed::new(Stage::Tunnel, "CONNECT", "not on this node"));
        };
        let address = choice.endpoint.address;
        let peer = Peer::Local(self.client.workload.identity.clone());
        policy::authorize_inbound(&self.mesh.snapshots.load().policies, workload, address.port(), &peer)
            .at(Stage::Policy, "DENY")?;
        let twin = ends::inbound_twin(&self.record, &self.client, choice.target(Proof::None), (workload, address));
        twin.established();
        self.straight(choice, SocketIntent::Application, Some(Arc::new(twin))).await
    }

    async fn session(&self, choice: &Choice) -> Result<Dialed<Io, Carrier>, Failed> {
        let Hop::Underpass(workload) = &choice.hop else {
            return Err(Failed::new(Stage::Tunnel, "CONNECT", "not an underpass/1 peer"));
        };
        let to = (&**workload, choice.endpoint.address);
        let (_, mut session) = dial::session(&self.mesh, &self.client, to, &choice.permit).await?;
        let (destination, source) = (choice.endpoint.address, self.client.address.socket());
        session.open(&underpass::Open { destination, source, confirm: true }).at(Stage::Tunnel, "TUNNEL")?;
        session.accepted().await.map_err(|error| match error {
            CarryError::Refused { code: RefusalCode::Denied, .. } => Failed::new(Stage::Policy, "DENY", error),
            error => Failed::new(Stage::Tunnel, "CONNECT", error),
        })?;
        let target = Arc::new(choice.target(Proof::Handshake(ends::tls(session.tls().info()))));
        let stream = SessionStream::new(session);
        let handle = Carrier { target, reports: Some(stream.reports(&self.mesh.reports)), twin: None };
        Ok(Dialed { io: Io::Session(Box::new(stream)), handle })
    }

    async fn hbone(&self, choice: &Choice) -> Result<Dialed<Io, Carrier>, Failed> {
        let Hop::Hbone(workload) = &choice.hop else {
            return Err(Failed::new(Stage::Tunnel, "CONNECT", "not an HBONE peer"));
        };
        let to = (&**workload, choice.endpoint.address);
        let stream = dial::hbone(&self.mesh, &self.client, to, &choice.permit).await?;
        let handle = Carrier { target: Arc::new(choice.target(Proof::Earlier)), reports: None, twin: None };
        Ok(Dialed { io: Io::Hbone(stream), handle })
    }
}

impl Choice {
    fn target(&self, proof: Proof) -> Target {
        ends::target(&self.hop, &self.endpoint, Some(&self.upstream.service), proof)
    }
}

/// Where a request goes on to. Rules that answer by themselves are refused before they get here, as broken ones.
fn forwarded(table: &HttpTable, source: &Workload, request: &Parts, rng: &mut Rng) -> Result<Arc<Upstream>, Refusal> {
    match table.decide(source, request, rng)?.verdict {
        Verdict::Forward(forward) => Ok(Arc::clone(forward.upstream())),
        Verdict::Answer(_) => Err(Refusal::NoRoute { service: Arc::clone(table.service()) }),
    }
}

fn refused(status: StatusCode, flag: &'static str, reason: impl Into<Cow<'static, str>>) -> Refused {
    Refused { status, flag, reason: reason.into() }
}

fn request(outcome: &RequestOutcome) -> RequestRecord {
    RequestRecord {
        method: outcome.method.clone(),
        uri: outcome.uri.clone(),
        authority: outcome.host.clone().or_else(|| outcome.authority().parse().ok()),
        user_agent: outcome.user_agent.clone(),
        request_id: outcome.request_id.clone(),
        status: outcome.status,
        grpc_status: outcome.grpc_status,
        protocol: match outcome.protocol {
            http::Protocol::Http1 => Protocol::Http,
            http::Protocol::Http2 => Protocol::Http2,
            http::Protocol::Grpc => Protocol::Grpc,
        },
        request_bytes: outcome.request_bytes,
        response_bytes: outcome.response_bytes,
        duration: outcome.duration,
        flag: outcome.flag,
        error: None,
    }
}

fn report(outcome: &RequestOutcome) -> Report {
    Report {
        status: outcome.status,
        grpc_status: outcome.grpc_status,
        protocol: outcome.protocol.as_str().to_owned(),
        method: outcome.method.to_string(),
        path: outcome.path().to_owned(),
        authority: outcome.authority().to_owned(),
        flag: outcome.flag.to_owned(),
        request_bytes: outcome.request_bytes,
        response_bytes: outcome.response_bytes,
        duration_us: u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
    }
}

/// A byte stream to an application, by any hop.
pub enum Io {
    /// `underpass/1`.
    Session(Box<SessionStream>),
    /// Straight.
    Tcp(TcpStream),
    /// HBONE.
    Hbone(hbone::Stream),
}

/// Calls a method of whichever stream it is.
macro_rules! each {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match &mut *$self {
            Io::Session(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Io::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Io::Hbone(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_read, cx, out)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self, Self::Hbone(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_shutdown, cx)
    }
}
