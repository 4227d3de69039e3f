//! One captured connection, from its first byte to its last answer.

use super::clock::{Clock, End, Step};
use super::detect::{Spoken, detect};
use super::exchange::exchange;
use super::plain::{self, Left};
use super::record::Record;
use super::response::ResponseBody;
use super::sentry::Sentry;
use super::tapped::Tapped;
use super::upgrade::Switch;
use super::watch::Watch;
use super::{Pool, Upstreams};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// What one client connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a header block; more is answered with 431. At least 8 KiB; also the size of a read.
    pub header_bytes: usize,
    /// From a header block's first byte to its last; longer is answered with 408.
    pub header_time: Duration,
    /// Between requests; then the connection is closed.
    pub idle: Duration,
    /// Concurrent streams of an HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            header_time: Duration::from_secs(15),
            idle: Duration::from_secs(300),
            streams: 200,
        }
    }
}

/// How a client connection ended otherwise than at a request's end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Broken off, or not HTTP: the client has been told if it still listens.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// A header block took too long; answered with 408.
    #[error("a header block took too long")]
    HeaderTime,
    /// The stream failed outside of HTTP.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What all requests of one client connection share.
pub(super) struct Relay<U: Upstreams> {
    pub(super) upstreams: Arc<U>,
    pub(super) pool: Arc<Pool<U>>,
    pub(super) limits: Limits,
    pub(super) watch: Arc<Watch>,
    switch: Mutex<Option<Switch<U>>>,
    ruled: Mutex<Option<Box<Record<U>>>>,
}

impl<U: Upstreams> Relay<U> {
    /// Has the connection's task make this switch once HTTP is done with the connection.
    pub(super) fn leave_for_later(&self, switch: Switch<U>) {
        *self.switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(switch);
    }

    /// Has the next request be taken for this one: it was routed already.
    pub(super) fn leave_ruled(&self, record: Box<Record<U>>) {
        *self.ruled.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }

    /// What was routed already of the request that comes.
    pub(super) fn ruled(&self) -> Option<Box<Record<U>>> {
        self.ruled.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn left(&self) -> Option<Switch<U>> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves one client connection until it ends; what was upgraded is relayed here too.
/// After `drain` no new request is taken: idle connections close, busy ones after their answer.
///
/// # Errors
/// The client's side broke off or broke the protocol. Upstream failures are answers, not errors.
pub async fn serve<S, U>(
    mut io: S,
    upstreams: Arc<U>,
    pool: Arc<Pool<U>>,
    limits: Limits,
    drain: impl Future<Output = ()> + Send,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: Upstreams,
{
    let watch = Arc::new(Watch::new());
    let (switch, ruled) = (Mutex::new(None), Mutex::new(None));
    let relay = Arc::new(Relay { upstreams, pool, limits, watch: Arc::clone(&watch), switch, ruled });
    let drain = pin!(drain);
    let mut clock = Clock::new(Arc::clone(&watch), limits, drain);
    let spoken = {
        let mut detecting = pin!(detect(&mut io, || watch.hears()));
        let detected = |step, cx: &mut Context<'_>| match step {
            Step::Advance => detecting.as_mut().poll(cx),
            Step::Finish => Poll::Ready(Ok(Spoken::Nothing)),
        };
        clock.run(detected).await
    };
    match spoken {
        End::Done(Ok(Spoken::First(start))) => first(io, start, relay, clock).await,
        End::Done(Ok(Spoken::Second(start))) => {
            watch.settles();
            second(Tapped::new(io, start, ()), relay, clock).await
        }
        End::Done(Ok(Spoken::Nothing)) | End::Over => Ok(()),
        End::Done(Err(error)) => Err(error.into()),
        End::HeaderTime => Err(refuse_slow(io).await),
    }
}

async fn first<S, U, D>(
    mut io: S,
    start: Bytes,
    relay: Arc<Relay<U>>,
    mut clock: Clock<'_, D>,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: Upstreams,
    D: Future<Output = ()>,
{
    let end = {
        let mut serving = pin!(plain::serve(&mut io, &start, &relay));
        let served = |step, cx: &mut Context<'_>| {
            if step == Step::Finish {
                relay.watch.finish();
            }
            serving.as_mut().poll(cx)
        };
        clock.run(served).await
    };
    match end {
        End::Over | End::Done(Ok(Left::Over)) => Ok(()),
        End::HeaderTime => Err(refuse_slow(io).await),
        End::Done(Err(error)) => Err(error.into()),
        End::Done(Ok(Left::Odd(bytes))) => {
            let io = Tapped::new(io, bytes, Sentry::new(Arc::clone(&relay.watch)));
            Box::pin(by_hyper(io, relay, clock)).await
        }
    }
}

async fn by_hyper<S, U, D>(
    io: Tapped<S, Sentry>,
    relay: Arc<Relay<U>>,
    mut clock: Clock<'_, D>,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: Upstreams,
    D: Future<Output = ()>,
{
    let requests = Arc::clone(&relay);
    let mut connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_buf_size(relay.limits.header_bytes)
        .max_header_size(relay.limits.header_bytes)
        .serve_connection(TokioIo::new(io), service_fn(move |request| answered(&requests, request)))
        .with_upgrades();
    let end = clock
        .run(|step, cx| {
            if step == Step::Finish {
                Pin::new(&mut connection).graceful_shutdown();
            }
            Pin::new(&mut connection).poll(cx)
        })
        .await;
    match end {
        End::Over => Ok(()),
        End::Done(Err(error)) => Err(error.into()),
        End::HeaderTime => match connection.into_parts() {
            Some(parts) => Err(refuse_slow(parts.io.into_inner()).await),
            None => Err(ServeError::HeaderTime),
        },
        End::Done(Ok(())) => {
            if let Some(switch) = relay.left() {
                Box::pin(switch.run::<S, Sentry>()).await;
            }
            Ok(())
        }
    }
}

async fn second<S, U, D>(io: Tapped<S, ()>, relay: Arc<Relay<U>>, mut clock: Clock<'_, D>) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: Upstreams,
    D: Future<Output = ()>,
{
    let limits = relay.limits;
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(io), service_fn(move |request| answered(&relay, request)))
    );
    let end = clock
        .run(|step, cx| {
            if step == Step::Finish {
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx)
        })
        .await;
    match end {
        End::Done(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn answered<U: Upstreams>(
    relay: &Arc<Relay<U>>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody<U>>, Infallible>> + Send + use<U> {
    let relay = Arc::clone(relay);
    async move { Ok(exchange(relay, request).await) }
}

/// The client may not listen: what cannot be written is not waited for longer than a moment.
async fn refuse_slow<S: AsyncWrite + Unpin>(mut io: S) -> ServeError {
    let told = async {
        io.write_all(SLOW).await?;
        io.shutdown().await
    };
    let _ = timeout(Duration::from_secs(1), told).await;
    ServeError::HeaderTime
}

const SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\nserver: underpass\r\n\
    connection: close\r\ncontent-length: 15\r\n\r\nrequest timeout";

/// As the upstream side has them.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
