//! A captured connection whose requests are routed one by one, each over its own hop.

mod dialing;
mod places;
mod stream;
pub(super) mod told;

pub use places::Place;
pub use stream::Io;

use super::admissions::Guarded;
use super::dial::Client;
use super::dress::Dress;
use super::ends::{self, Proof};
use super::failed::Failed;
use super::hop::{self, Hop};
use super::{ATTEMPTS, Mesh};
use crate::balance::{self, Endpoint, InFlight, Limit, Overflow, Reach, Slot};
use crate::model::AppProtocol;
use crate::model::traffic_policy::H2Upgrade;
use crate::policy::{self, Beyond, Permit};
use crate::relay::http::{
    self, DialError, Dialed, Limits, Refused, RequestOutcome, Ruling, Settled, Shapes, Speaks, Terms, Upstreams,
    Verdict, Wear,
};
use crate::route::{self, Affinity, Forward, HttpTable, Plan, Refusal, Upstream};
use crate::snapshot::Snapshot;
use crate::telemetry::{Open, Outcome, Protocol, RequestRecord, Target};
use crate::tunnel::underpass::{Own, ReportSink};
use crate::vocab::{OrigDst, SpiffeId, Stage};
use ::http::header::SET_COOKIE;
use ::http::request::Parts;
use ::http::{HeaderMap, StatusCode, Version};
use fastrand::Rng;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// The routes of one captured connection.
pub struct Requests {
    mesh: Arc<Mesh>,
    client: Client,
    /// As it was when the connection was made; each request asks for the one in force.
    table: HttpTable,
    original: OrigDst,
    record: Arc<Open>,
    /// Whether the client speaks HTTP/2; its first request tells.
    http2: AtomicBool,
}

/// Serves the requests of one captured connection to its end and records it once.
pub async fn serve(
    mesh: &Arc<Mesh>,
    client: Client,
    (table, original): (HttpTable, OrigDst),
    app: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    record: Open,
) {
    record.service(ends::service(table.service()));
    record.protocol(Protocol::Http);
    record.established();
    let record = Arc::new(record);
    let drain = client.pod.gone().clone().cancelled_owned();
    let upstreams = Requests {
        mesh: Arc::clone(mesh),
        client,
        table,
        original,
        record: Arc::clone(&record),
        http2: AtomicBool::new(false),
    };
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
    forward: Forward,
    affinity: Affinity,
    hop: Hop,
    permit: Permit,
    _load: InFlight,
    _counted: Counted,
}

/// How a request that is under way is counted once, however often it is tried.
enum Counted {
    Here {
        _slot: Option<Slot>,
    },
    /// With its first attempt.
    There {
        _first: Option<Chosen>,
    },
}

/// Whom an upstream connection belongs to: it is never shared with another source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    source: IpAddr,
    source_id: SpiffeId,
    destination: SocketAddr,
    /// Whoever was proven to be there; nobody where a rule wants plaintext.
    destination_id: Option<SpiffeId>,
    dress: Option<Box<Dress>>,
    /// What a rule says of how long it is used; one that was made under another rule is not used any more.
    wear: Option<Box<Wear>>,
}

/// What is remembered of an upstream connection, for each of its requests.
#[derive(Clone)]
pub struct Carrier {
    target: Arc<Target>,
    reports: Option<ReportSink>,
    twin: Option<Arc<Open>>,
    /// It is cut when policies come that deny it.
    _guarded: Option<Arc<Guarded>>,
    /// It has a tunnel to itself.
    _own: Option<Arc<Own>>,
}

/// Endpoints that are not wanted, and how far to look for others.
type But<'a> = (&'a [SocketAddr], Reach);

impl Upstreams for Requests {
    type Io = Io;
    type Handle = Carrier;
    type Target = Chosen;
    type Key = Key;
    type Retrying = Slot;
    type Place = Place;

    fn route(&self, request: &Parts) -> Result<Ruling<Chosen>, Refused> {
        self.http2.store(request.version == Version::HTTP_2, Ordering::Relaxed);
        let now = self.mesh.snapshots.load();
        let permit = policy::authorize_outbound(&now.policies, &self.client.workload, Beyond::No)
            .map_err(|denied| refused(StatusCode::FORBIDDEN, "UAEX", denied.to_string()))?;
        let ruling = self.ruling(&now, request);
        let ruling = ruling.map_err(|refusal| {
            let status = route::answer::refusal_status(request, &refusal);
            refused(status, refusal.flag(), refusal.to_string())
        })?;
        let verdict = match ruling.verdict {
            route::Verdict::Answer(answer) => Verdict::Answer(answer),
            route::Verdict::Forward(forward) => {
                let affinity = forward.upstream().hash(request, self.client.address.ip());
                let endpoint = self.pick(forward.upstream(), affinity.hash, (&[], Reach::All));
                let unavailable = |flag, reason| refused(StatusCode::SERVICE_UNAVAILABLE, flag, reason);
                let endpoint = endpoint.ok_or_else(|| unavailable("UH", "no healthy upstream".to_owned()))?;
                let slot = forward.upstream().admit_request();
                let slot = slot.map_err(|overflow| unavailable(Overflow::FLAG, overflow.to_string()))?;
                Verdict::Forward(self.chosen(
                    endpoint,
                    (forward, affinity),
                    permit,
                    Counted::Here { _slot: Some(slot) },
                ))
            }
        };
        Ok(Ruling { delay: ruling.delay, verdict })
    }

    fn shapes(&self, target: &Chosen) -> Shapes {
        let (request, response) = target.0.forward.shapes();
        Shapes { request, response: response || target.0.affinity.set_cookie.is_some() }
    }

    fn shape_request(&self, target: &Chosen, request: &mut Parts) {
        target.0.forward.shape_request(request);
    }

    fn shape_response(&self, target: &Chosen, headers: &mut HeaderMap) {
        target.0.forward.shape_response(headers);
        if let Some(cookie) = &target.0.affinity.set_cookie {
            headers.append(SET_COOKIE, cookie.clone());
        }
    }

    fn terms<'a>(&'a self, target: &'a Chosen) -> Terms<'a> {
        Terms { timeout: target.0.forward.timeout(), retry: target.0.forward.retry() }
    }

    fn speaks(&self, target: &Chosen) -> Speaks {
        speaks(target.0.forward.upstream())
    }

    async fn enter(&self, target: &Chosen) -> Result<Option<Place>, DialError> {
        places::enter(target.0.forward.upstream()).await.map_err(|overflow| overflowed(&overflow))
    }

    fn mirrors(&self, target: &Chosen) -> Vec<Chosen> {
        let mirrors = target.0.forward.mirrors().iter().map(|upstream| Forward::plain(Arc::clone(upstream)));
        let copy = |forward: Forward| {
            let slot = forward.upstream().standing.admit(Limit::Requests, None).ok();
            self.choose((&forward, &Affinity::default()), (&[], Reach::All), Counted::Here { _slot: slot })
        };
        mirrors.filter_map(copy).collect()
    }

    fn key(&self, target: &Chosen) -> Key {
        Key {
            source: self.client.address.ip(),
            source_id: self.client.workload.identity.clone(),
            destination: target.0.endpoint.address,
            destination_id: target.0.hop.identity().cloned(),
            dress: self.dress(target.0.forward.upstream()),
            wear: Some(wear(target.0.forward.upstream())).filter(|wear| *wear != Wear::default()).map(Box::new),
        }
    }

    async fn dial(&self, target: &Chosen) -> Result<Dialed<Io, Carrier>, DialError> {
        let upstream = target.0.forward.upstream();
        let _pending = upstream.admit_pending().map_err(|overflow| overflowed(&overflow))?;
        match self.connect(&target.0).await {
            Ok((io, handle)) => Ok(Dialed { shares: io.shares(), io, handle, wear: wear(upstream) }),
            Err(failed) => Err(undialed(failed)),
        }
    }

    fn another(&self, tried: &[Chosen]) -> Option<Chosen> {
        let last = tried.last().filter(|_| tried.len() < ATTEMPTS)?;
        self.once_more(last, (&addresses(tried), Reach::All), tried)
    }

    fn again(&self, tried: &[Chosen]) -> Option<Chosen> {
        let (last, seen) = (tried.last()?, addresses(tried));
        route::retry::reaches(last.0.forward.retry()?, tried.len()).iter().find_map(|(other, reach)| {
            let but = if *other { seen.as_slice() } else { &[] };
            self.once_more(last, (but, *reach), tried)
        })
    }

    fn admit_retry(&self, target: &Chosen) -> Option<Slot> {
        target.0.forward.upstream().admit_retry().ok()
    }

    fn settle(&self, target: &Chosen, result: Settled) {
        let outcome = match result {
            Settled::Answered(status) => balance::Outcome::Answered(status),
            Settled::Unreachable | Settled::Reset | Settled::TimedOut => balance::Outcome::Failed,
        };
        target.0.endpoint.settle(outcome, Instant::now());
    }

    fn finished(&self, target: Option<&Chosen>, carrier: Option<&Carrier>, outcome: &RequestOutcome) {
        let mut record = told::request(outcome);
        record.rule = target.and_then(|chosen| chosen.0.forward.rule().cloned());
        let Some(carrier) = carrier else {
            let target = match target {
                Some(chosen) => chosen.0.target(Proof::None),
                None => Target { service: Some(ends::service(self.table.service())), ..Target::default() },
            };
            return self.count(&Arc::new(target), record, outcome);
        };
        if let Some(twin) = &carrier.twin {
            twin.request(&carrier.target, &record);
        }
        if let Some(reports) = &carrier.reports {
            reports.push(&told::report(outcome));
        }
        self.count(&carrier.target, record, outcome);
    }
}

impl Requests {
    /// By the configuration of now: a connection that lives long follows every change.
    fn ruling(&self, now: &Snapshot, request: &Parts) -> Result<route::Ruling, Refusal> {
        let (workload, mut rng) = (&self.client.workload, Rng::new());
        match route::resolve(&now.routes, workload, self.original, &mut rng) {
            Plan::Http(table) => table.decide(workload, request, &mut rng),
            Plan::Undecided(undecided) => {
                undecided.requests().unwrap_or(&self.table).decide(workload, request, &mut rng)
            }
            Plan::Tcp(upstream) => {
                let verdict = route::Verdict::Forward(Forward::plain(upstream));
                Ok(route::Ruling { delay: None, verdict })
            }
            Plan::Refused(refusal) => Err(refusal),
            // The service is gone; the rules that were in force when the connection was made hold to its end.
            Plan::Passthrough | Plan::Workload(_) => self.table.decide(workload, request, &mut rng),
        }
    }

    fn pick(&self, upstream: &Upstream, hash: Option<u64>, but: But<'_>) -> Option<Arc<Endpoint>> {
        balance::pick_within(&upstream.group, &self.client.caller(self.original, hash), but, &mut Rng::new())
    }

    /// An endpoint for another attempt.
    fn once_more(&self, last: &Chosen, but: But<'_>, tried: &[Chosen]) -> Option<Chosen> {
        let first = tried.first().cloned();
        self.choose((&last.0.forward, &last.0.affinity), but, Counted::There { _first: first })
    }

    /// An endpoint for another attempt, or for a copy; the source's permission to go there is asked for again.
    fn choose(&self, to: (&Forward, &Affinity), but: But<'_>, counted: Counted) -> Option<Chosen> {
        let (forward, affinity) = to;
        let endpoint = self.pick(forward.upstream(), affinity.hash, but)?;
        let now = self.mesh.snapshots.load();
        let permit = policy::authorize_outbound(&now.policies, &self.client.workload, Beyond::No).ok()?;
        Some(self.chosen(endpoint, (forward.clone(), affinity.clone()), permit, counted))
    }

    fn dress(&self, upstream: &Upstream) -> Option<Box<Dress>> {
        Dress::of(upstream, self.client.address, self.original)
    }

    fn chosen(
        &self,
        endpoint: Arc<Endpoint>,
        (forward, affinity): (Forward, Affinity),
        permit: Permit,
        counted: Counted,
    ) -> Chosen {
        let (hop, load) = (hop::to(&self.mesh, &endpoint, forward.upstream().policy.tls.as_ref()), endpoint.begin());
        Chosen(Arc::new(Choice { endpoint, forward, affinity, hop, permit, _load: load, _counted: counted }))
    }

    /// A mirror's copy is no request of the client's: it has a counter of its own.
    fn count(&self, target: &Arc<Target>, record: RequestRecord, outcome: &RequestOutcome) {
        let agent = self.mesh.telemetry.agent();
        if outcome.copy {
            return agent.mirrored(outcome.flag);
        }
        if outcome.attempts > 1 {
            agent.retried(u64::from(outcome.attempts - 1));
        }
        self.record.request(target, &record);
    }
}

impl Choice {
    fn target(&self, proof: Proof) -> Target {
        ends::target(&self.hop, &self.endpoint, Some(&self.forward.upstream().service), proof)
    }
}

fn addresses(tried: &[Chosen]) -> Vec<SocketAddr> {
    tried.iter().map(|target| target.0.endpoint.address).collect()
}

fn overflowed(overflow: &Overflow) -> DialError {
    DialError { flag: Overflow::FLAG, retriable: false, reason: Cow::Owned(overflow.to_string()) }
}

/// What the DestinationRule says of versions. A port that says it is HTTP/2 or gRPC is what it says.
fn speaks(upstream: &Upstream) -> Speaks {
    let http = upstream.policy.connection_pool.as_ref().map(|pool| &pool.http);
    match (http.map(|http| http.upgrade), upstream.protocol) {
        (Some(H2Upgrade::Upgrade), _) => Speaks::Second,
        (Some(H2Upgrade::Never), AppProtocol::Http) => Speaks::First,
        _ => Speaks::AsClient,
    }
}

/// What the DestinationRule says of connections.
fn wear(upstream: &Upstream) -> Wear {
    let Some(pool) = &upstream.policy.connection_pool else { return Wear::default() };
    let http = &pool.http;
    Wear {
        requests: http.max_requests_per_connection.filter(|most| *most > 0),
        age: pool.tcp.max_duration.filter(|age| !age.is_zero()),
        idle: http.idle_timeout,
        streams: http.max_streams,
        ping: http.h2_keepalive,
    }
}

fn undialed(failed: Failed) -> DialError {
    let denied = failed.stage == Stage::Policy;
    let flag = if denied { "UAEX" } else { "UF" };
    DialError { flag, retriable: !denied, reason: Cow::Owned(failed.reason) }
}

fn refused(status: StatusCode, flag: &'static str, reason: impl Into<Cow<'static, str>>) -> Refused {
    Refused { status, flag, reason: reason.into() }
}
