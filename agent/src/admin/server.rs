//! The listeners. Small on purpose: HTTP/1.1, no bodies read, a bound on connections, headers and time.

use super::routes::{Answer, Sources, Surface, answer};
use futures_util::stream;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A listener cannot be had.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for {surface:?}")]
pub struct ServerError {
    address: SocketAddr,
    surface: Surface,
    source: io::Error,
}

/// Connections at the same time on one listener. Prometheus, a kubelet and some people need few.
const CONNECTIONS: usize = 64;

/// How long a client may take for a request's head, which also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may last at all: a client that does not read cannot keep its place.
const LIFETIME: Duration = Duration::from_secs(300);

/// The most that a request's head may take, in bytes. hyper's least is 8192.
const HEAD_BYTES: usize = 16 * 1024;

/// How long to wait after a failed accept (such as EMFILE, which does not end by trying at once).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers at each of these addresses from now on.
///
/// # Errors
/// An address is taken or not this host's.
pub async fn serve(surfaces: [(Surface, SocketAddr); 3], sources: Sources) -> Result<(), ServerError> {
    let sources = Arc::new(sources);
    for (surface, address) in surfaces {
        tokio::spawn(Server::bind(surface, address).await?.run(Arc::clone(&sources)));
    }
    Ok(())
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    surface: Surface,
}

impl Server {
    /// Binds a listener.
    ///
    /// # Errors
    /// The address is taken or not this host's.
    pub async fn bind(surface: Surface, address: SocketAddr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServerError { address, surface, source })?;
        Ok(Self { listener, surface })
    }

    /// Where it listens, for port 0.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the future is dropped, which also ends its connections.
    pub async fn run(self, sources: Arc<Sources>) -> Infallible {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, surface = ?self.surface, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let sources = sources.clone();
            let surface = self.surface;
            connections.spawn(async move {
                // Whatever ends a connection early is the client's affair.
                _ = tokio::time::timeout(LIFETIME, converse(stream, surface, sources)).await;
                drop(place);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn converse(stream: TcpStream, surface: Surface, sources: Arc<Sources>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let sources = sources.clone();
        async move { Ok::<_, Infallible>(respond(surface, sources, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(surface: Surface, sources: Arc<Sources>, request: Request<Incoming>) -> Response<Body> {
    let (head, _) = request.into_parts();
    // A dump of a large mesh takes milliseconds, which the data path's threads do not have.
    let task = tokio::task::spawn_blocking(move || answer(&sources, surface, &head.method, &head.uri));
    match task.await {
        Ok(answer) => response(answer),
        Err(error) => {
            tracing::error!(%error, "an admin answer failed");
            let mut response = Response::new(Full::from("the answer failed; see the agent's log\n").boxed_unsync());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn response(answer: Answer) -> Response<Body> {
    let frames = answer.body.map(|piece| Ok(Frame::data(Bytes::from(piece))));
    let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = answer.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
