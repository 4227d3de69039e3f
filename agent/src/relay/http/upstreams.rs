//! What the conductor provides for one captured connection: routes, connections, and an ear for outcomes.

use super::RequestOutcome;
use http::StatusCode;
use http::request::Parts;
use std::borrow::Cow;
use std::future::Future;
use std::hash::Hash;
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

    /// Decides for one request. Called once per request, with the headers as the client sent them.
    ///
    /// # Errors
    /// The answer that the client gets instead.
    fn route(&self, request: &Parts) -> Result<Self::Target, Refused>;

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

    /// Called exactly once for each request, when its last byte went or it broke off.
    /// The target is missing if it was refused, the handle if no stream carried it.
    fn finished(&self, target: Option<&Self::Target>, handle: Option<&Self::Handle>, outcome: &RequestOutcome);
}

/// A stream that was just opened.
#[derive(Debug)]
pub struct Dialed<I, H> {
    /// The stream, positioned at the application's first byte. `TCP_NODELAY` is the dialer's.
    pub io: I,
    /// What names it in outcomes.
    pub handle: H,
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
