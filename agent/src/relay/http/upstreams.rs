//! What the conductor provides for one captured connection: routes, connections, and an ear for outcomes.

use super::{RequestOutcome, Speaks};
use crate::model::http_rule::Retry;
use crate::route::Answer;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where requests of one captured connection may go. All methods but `dial` are called in the request's path: short.
pub trait Upstreams: Send + Sync + 'static {
    /// A byte stream to an application.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Comes with the stream and is given back with each outcome, so that the far agent can be told. One per stream,
    /// shared by all requests on it, also by those of other captured connections.
    type Handle: Clone + Send + Sync + 'static;
    /// A chosen endpoint and all that was decided with it.
    type Target: Clone + Send + Sync + 'static;
    /// What streams may be shared within: endpoint address, source identity, and all else that sets them apart.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    /// One retry that is under way, counted until it is dropped.
    type Retrying: Send + 'static;
    /// A place among a limited number of connections.
    type Place: Send + 'static;

    /// Decides for one request. Called once per request, with the headers as the client sent them, and the path as
    /// [`crate::vocab::normalised`] has it.
    ///
    /// # Errors
    /// The answer that the client gets instead.
    fn route(&self, request: &Parts) -> Result<Ruling<Self::Target>, Refused>;

    /// [`Upstreams::route`] for those who have to ask others first.
    ///
    /// # Errors
    /// The answer that the client gets instead.
    fn judged(&self, request: &Parts) -> impl Future<Output = Result<Ruling<Self::Target>, Refused>> + Send {
        std::future::ready(self.route(request))
    }

    /// Whether [`Upstreams::shape_request`] and [`Upstreams::shape_response`] change anything.
    fn shapes(&self, target: &Self::Target) -> Shapes;

    /// Makes the request what the destination is to see.
    fn shape_request(&self, target: &Self::Target, request: &mut Parts);

    /// Makes the answer what the client is to see.
    fn shape_response(&self, target: &Self::Target, headers: &mut HeaderMap);

    /// What the rule says of times and retries. The same for all targets of one request.
    fn terms<'a>(&'a self, target: &'a Self::Target) -> Terms<'a>;

    /// Which version of HTTP the application is spoken to in.
    fn speaks(&self, target: &Self::Target) -> Speaks;

    /// Waits for a place among the connections to this target's service, where their number is limited. It is given
    /// back when it is dropped, after the answer. For HTTP/1, which needs a connection for each request.
    ///
    /// # Errors
    /// Too many wait already.
    fn enter(&self, target: &Self::Target) -> impl Future<Output = Result<Option<Self::Place>, DialError>> + Send;

    /// Where copies of this request go.
    fn mirrors(&self, target: &Self::Target) -> Vec<Self::Target>;

    /// The key of the pool's connections to this target. HTTP/1 and HTTP/2 are kept apart by the pool.
    fn key(&self, target: &Self::Target) -> Self::Key;

    /// Opens a stream to the target. Must bound its own time; dropped when the client goes.
    ///
    /// # Errors
    /// Why there is none, and whether [`Upstreams::another`] is to be asked.
    fn dial(
        &self,
        target: &Self::Target,
    ) -> impl Future<Output = Result<Dialed<Self::Io, Self::Handle>, DialError>> + Send;

    /// The next endpoint after `tried` (in order, the last one just failed before a byte was sent), if any is left.
    fn another(&self, tried: &[Self::Target]) -> Option<Self::Target>;

    /// The endpoint of a retry after attempts at `tried` (in order), maybe one of them again.
    fn again(&self, tried: &[Self::Target]) -> Option<Self::Target>;

    /// Takes one retry to this target's service out of its budget; none if there is none left.
    fn admit_retry(&self, target: &Self::Target) -> Option<Self::Retrying>;

    /// Called after each attempt, with what the endpoint did.
    fn settle(&self, target: &Self::Target, result: Settled);

    /// Called exactly once for each request and each copy, when its last byte went or it broke off.
    /// The target is missing if it was refused, the handle if no stream carried it.
    fn finished(&self, target: Option<&Self::Target>, handle: Option<&Self::Handle>, outcome: &RequestOutcome);
}

/// What is done with one request.
#[derive(Debug, Clone)]
pub struct Ruling<T> {
    /// Waited for first.
    pub delay: Option<Duration>,
    /// What is done then.
    pub verdict: Verdict<T>,
}

/// What is done with a request.
#[derive(Debug, Clone)]
pub enum Verdict<T> {
    /// It is answered here.
    Answer(Answer),
    /// It goes there.
    Forward(T),
}

impl<T> Ruling<T> {
    /// Forwards at once.
    pub fn forward(target: T) -> Self {
        Self { delay: None, verdict: Verdict::Forward(target) }
    }
}

/// What is changed on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shapes {
    /// The request.
    pub request: bool,
    /// The answer.
    pub response: bool,
}

/// Times and retries of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// From the request's end to the answer's end, retries included.
    pub timeout: Option<Duration>,
    /// When and how often a failed attempt is repeated. None: only what no application can have seen.
    pub retry: Option<&'a Retry>,
}

/// What an endpoint did with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It answered.
    Answered(StatusCode),
    /// There was no connection to it.
    Unreachable,
    /// It broke off before it answered.
    Reset,
    /// It took too long to answer.
    TimedOut,
}

/// A stream that was just opened.
#[derive(Debug)]
pub struct Dialed<I, H> {
    /// The stream, positioned at the application's first byte. `TCP_NODELAY` is the dialer's.
    pub io: I,
    /// What names it in outcomes.
    pub handle: H,
    /// How long it may be used.
    pub wear: Wear,
    /// It shares its way with others: one that does not is taken first.
    pub shares: bool,
}

/// How long a connection to an application may be used, and how it is kept. None: the pool's own limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Wear {
    /// Requests before it is closed; 1 is without keep-alive.
    pub requests: Option<u32>,
    /// No new request after so long; those under way are answered.
    pub age: Option<Duration>,
    /// Closed after so long without a request.
    pub idle: Option<Duration>,
    /// HTTP/2 streams at once.
    pub streams: Option<u32>,
    /// HTTP/2 PING after so long while requests are under way, and how long its answer is waited for.
    pub ping: Option<(Duration, Duration)>,
}

/// A request that goes nowhere: what the client is told, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refused {
    /// The HTTP status. gRPC clients get the `grpc-status` that the gRPC specification maps it to.
    pub status: StatusCode,
    /// Envoy's response flag: `NR`, `UH`, `UAEX` and so on.
    pub flag: &'static str,
    /// The body, short, without a line end.
    pub reason: Cow<'static, str>,
}

/// No stream to this endpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct DialError {
    /// Envoy's response flag: `UF`, `URX` and so on.
    pub flag: &'static str,
    /// Another endpoint may do better.
    pub retriable: bool,
    /// The body of the 503, short, without a line end.
    pub reason: Cow<'static, str>,
}
