//! Whole exchanges over loopback: raw bytes or real HTTP clients on one side, scripted applications on the other.

mod answers;
mod any;
mod carrying;
mod dialects;
mod hostile;
mod leaving;
mod mirrors;
mod plain;
mod pooling;
mod retrying;
mod second;
mod second_ruled;
mod times;

use super::{
    DialError, Dialed, Limits, Pool, Refused, RequestOutcome, Ruling, Settled, Shapes, Speaks, Terms, Upstreams,
    Verdict, Wear, serve,
};
use crate::model::http_rule::{Retry, RetryOn};
use crate::route::Answer;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// What the rule of every request says.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    pub(super) delay: Option<Duration>,
    pub(super) answer: Option<Answer>,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Option<Retry>,
    pub(super) mirrors: Vec<SocketAddr>,
    pub(super) wear: Wear,
    /// Retries that may be under way at once.
    pub(super) budget: Option<usize>,
    pub(super) speaks: Speaks,
    /// Connections that may be used at once.
    pub(super) places: Option<Arc<tokio::sync::Semaphore>>,
    /// Set on requests and answers.
    pub(super) mark: Option<HeaderValue>,
}

/// A service with these endpoints, in order of preference. Paths that start with `/nowhere` have no route.
pub(super) struct Service {
    endpoints: Vec<SocketAddr>,
    rule: Rule,
    retrying: Arc<()>,
    outcomes: Mutex<Vec<(Option<SocketAddr>, RequestOutcome)>>,
    settled: Mutex<Vec<(SocketAddr, Settled)>>,
    dials: AtomicUsize,
}

impl Upstreams for Service {
    type Io = TcpStream;
    type Handle = SocketAddr;
    type Target = SocketAddr;
    type Key = SocketAddr;
    type Retrying = Arc<()>;
    type Place = tokio::sync::OwnedSemaphorePermit;

    fn route(&self, request: &Parts) -> Result<Ruling<SocketAddr>, Refused> {
        let refused = |status, flag, reason: &'static str| Refused { status, flag, reason: reason.into() };
        if request.uri.path().starts_with("/nowhere") {
            return Err(refused(StatusCode::NOT_FOUND, "NR", "no route"));
        }
        let none = refused(StatusCode::SERVICE_UNAVAILABLE, "UH", "no healthy upstream");
        let verdict = match &self.rule.answer {
            Some(answer) => Verdict::Answer(answer.clone()),
            None => Verdict::Forward(self.endpoints.first().copied().ok_or(none)?),
        };
        Ok(Ruling { delay: self.rule.delay, verdict })
    }

    async fn judged(&self, request: &Parts) -> Result<Ruling<SocketAddr>, Refused> {
        if !request.uri.path().starts_with("/judged") {
            return self.route(request);
        }
        // Others are asked first.
        tokio::task::yield_now().await;
        let denied = Answer::new(request, StatusCode::FORBIDDEN, "RBAC: access denied".into());
        let answer = Answer { flag: "DENY", rule: Some("a policy".into()), ..denied };
        Ok(Ruling { delay: None, verdict: Verdict::Answer(answer) })
    }

    fn shapes(&self, _: &SocketAddr) -> Shapes {
        Shapes { request: self.rule.mark.is_some(), response: self.rule.mark.is_some() }
    }

    fn shape_request(&self, _: &SocketAddr, request: &mut Parts) {
        if let Some(mark) = &self.rule.mark {
            request.headers.insert("x-mark", mark.clone());
        }
    }

    fn shape_response(&self, _: &SocketAddr, headers: &mut HeaderMap) {
        if let Some(mark) = &self.rule.mark {
            headers.insert("x-mark", mark.clone());
        }
    }

    fn terms<'a>(&'a self, _: &'a SocketAddr) -> Terms<'a> {
        Terms { timeout: self.rule.timeout, retry: self.rule.retry.as_ref() }
    }

    fn speaks(&self, _: &SocketAddr) -> Speaks {
        self.rule.speaks
    }

    async fn enter(&self, _: &SocketAddr) -> Result<Option<Self::Place>, DialError> {
        let Some(places) = &self.rule.places else { return Ok(None) };
        Ok(Arc::clone(places).acquire_owned().await.ok())
    }

    fn mirrors(&self, _: &SocketAddr) -> Vec<SocketAddr> {
        self.rule.mirrors.clone()
    }

    fn key(&self, target: &SocketAddr) -> SocketAddr {
        *target
    }

    async fn dial(&self, target: &SocketAddr) -> Result<Dialed<TcpStream, SocketAddr>, DialError> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let failed = |_| DialError { flag: "UF", retriable: true, reason: "upstream connection failure".into() };
        let io = TcpStream::connect(target).await.map_err(failed)?;
        Ok(Dialed { io, handle: *target, wear: self.rule.wear, shares: false })
    }

    fn another(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        self.endpoints.get(tried.len()).copied()
    }

    fn again(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        Some(self.endpoints[tried.len() % self.endpoints.len()])
    }

    fn admit_retry(&self, _: &SocketAddr) -> Option<Arc<()>> {
        let admitted = Arc::clone(&self.retrying);
        (Arc::strong_count(&admitted) - 2 < self.rule.budget.unwrap_or(usize::MAX)).then_some(admitted)
    }

    fn settle(&self, target: &SocketAddr, result: Settled) {
        self.settled.lock().unwrap().push((*target, result));
    }

    fn finished(&self, target: Option<&SocketAddr>, _: Option<&SocketAddr>, outcome: &RequestOutcome) {
        self.outcomes.lock().unwrap().push((target.copied(), outcome.clone()));
    }
}

/// A relay in front of a service.
pub(super) struct Bench {
    service: Arc<Service>,
    pool: Arc<Pool<Service>>,
    address: SocketAddr,
    drain: Arc<Notify>,
}

impl Bench {
    pub(super) async fn new(endpoints: Vec<SocketAddr>) -> Self {
        Self::with(endpoints, Limits::default()).await
    }

    pub(super) async fn with(endpoints: Vec<SocketAddr>, limits: Limits) -> Self {
        Self::all(endpoints, limits, Rule::default()).await
    }

    pub(super) async fn ruled(endpoints: Vec<SocketAddr>, rule: Rule) -> Self {
        Self::all(endpoints, Limits::default(), rule).await
    }

    async fn all(endpoints: Vec<SocketAddr>, limits: Limits, rule: Rule) -> Self {
        let service = Arc::new(Service {
            endpoints,
            rule,
            retrying: Arc::default(),
            outcomes: Mutex::default(),
            settled: Mutex::default(),
            dials: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pool = Arc::new(Pool::new());
        let drain = Arc::new(Notify::new());
        let (served, shared, told) = (Arc::clone(&service), Arc::clone(&pool), Arc::clone(&drain));
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let told = Arc::clone(&told);
                let drained = async move { told.notified().await };
                tokio::spawn(serve(io, Arc::clone(&served), Arc::clone(&shared), limits, drained));
            }
        });
        Self { service, pool, address, drain }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and returns all that comes until the relay closes.
    pub(super) async fn talk(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        rest(&mut client).await
    }

    /// What became of each attempt so far.
    pub(super) fn settled(&self) -> Vec<Settled> {
        self.service.settled.lock().unwrap().iter().map(|(_, settled)| *settled).collect()
    }

    pub(super) fn dials(&self) -> usize {
        self.service.dials.load(Ordering::Relaxed)
    }

    /// The outcomes so far, as soon as there are this many.
    pub(super) async fn outcomes(&self, count: usize) -> Vec<RequestOutcome> {
        let got = || self.service.outcomes.lock().unwrap().iter().map(|(_, outcome)| outcome.clone()).collect();
        let enough = async {
            loop {
                let outcomes: Vec<RequestOutcome> = got();
                if outcomes.len() >= count {
                    return outcomes;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(SOON, enough).await.unwrap_or_else(|_| panic!("fewer than {count} outcomes: {:?}", got()))
    }
}

/// An application: the script runs once for each connection, with its number from 0.
pub(super) async fn app<F, A>(script: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((io, _)) = listener.accept().await else { return };
            tokio::spawn(script(number, io));
        }
    });
    address
}

/// An application that answers each header block with the same bytes and notes what it was sent.
pub(super) async fn answering(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&seen);
    let address = app(move |_, mut io| {
        let noted = Arc::clone(&noted);
        async move {
            loop {
                let block = until(&mut io, "\r\n\r\n").await;
                if block.is_empty() {
                    return;
                }
                noted.lock().unwrap().push_str(&block);
                let _ = io.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    (address, seen)
}

/// Retries of what these words say.
pub(super) fn retry(attempts: u32, on: RetryOn) -> Retry {
    let backoff = Some(Duration::from_millis(5));
    Retry { attempts, per_try: None, on, backoff, other_host: true, remote_localities: false }
}

/// An address that refuses.
pub(super) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Reads, byte by byte, to the end of `mark`, or to the stream's end.
pub(super) async fn until(io: &mut TcpStream, mark: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        let mut byte = [0];
        while !text.ends_with(mark.as_bytes()) && io.read(&mut byte).await.is_ok_and(|len| len > 0) {
            text.push(byte[0]);
        }
    };
    let done = timeout(SOON, read).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(done.is_ok(), "no {mark:?} came after {text:?}");
    text
}

/// All that comes until the other side ends; a reset is an end.
pub(super) async fn rest(io: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let done = timeout(SOON, io.read_to_end(&mut text)).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(done.is_ok(), "not closed after {text:?}");
    text
}

pub(super) const SOON: Duration = Duration::from_secs(10);
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
