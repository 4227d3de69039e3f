//! The accepting side of HBONE.

use super::baggage::Baggage;
use super::header::Connect;
use super::keepalive::{self, PeerSilent};
use super::refusal::Refusal;
use super::stream::Stream;
use super::{
    CONNECTION_WINDOW, FRAME, PREFACE_TIMEOUT, REQUEST_HEADERS, SEND_BUFFER, SERVER_STREAMS, SMALL_FRAMES,
    STREAM_WINDOW,
};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{Request, Response, StatusCode};
use std::io;
use std::sync::Arc;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Streams that a client may open and reset before we looked at them: rapid reset, CVE-2023-44487.
const UNSEEN_RESETS: usize = 20;
/// Streams we may have to reset for a client's errors before it is sent away: CVE-2025-8671.
const CAUSED_RESETS: usize = 1024;

/// Decides about one tunnel and serves it to its end.
pub trait Respond: Send + Sync + 'static {
    /// Answers by [`Incoming::accept`] or [`Incoming::refuse`]; an unanswered request is reset.
    fn respond(&self, incoming: Incoming) -> impl Future<Output = ()> + Send;
}

impl<F, R> Respond for F
where
    F: Fn(Incoming) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    fn respond(&self, incoming: Incoming) -> impl Future<Output = ()> + Send {
        self(incoming)
    }
}

/// A CONNECT request that waits for its answer.
pub struct Incoming {
    /// What is asked for.
    pub connect: Connect,
    read: RecvStream,
    answer: SendResponse<Bytes>,
}

impl Incoming {
    /// Answers 200: the application's connection stands. Fails if the client is gone already.
    pub fn accept(self, baggage: &Baggage) -> io::Result<Stream> {
        let Self { read, mut answer, .. } = self;
        let mut response = Response::new(());
        Connect::add_baggage(response.headers_mut(), baggage);
        let write = answer.send_response(response, false).map_err(io::Error::other)?;
        Ok(Stream::new(read, write, None))
    }

    /// Answers with the reason's status. A client that is gone does not hear it.
    pub fn refuse(mut self, refusal: Refusal) {
        send_refusal(&mut self.answer, refusal);
    }

    /// Waits until the client takes the request back: the application's connection is no longer wanted.
    pub async fn cancelled(&mut self) {
        let _ = std::future::poll_fn(|cx| self.answer.poll_reset(cx)).await;
    }
}

/// Why a session ended other than by agreement.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The client spoke no HTTP/2, or too slowly.
    #[error("no HTTP/2 preface within {} s", PREFACE_TIMEOUT.as_secs())]
    NoPreface,
    /// The connection broke, or the client broke the protocol or its limits.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// The client is gone.
    #[error(transparent)]
    PeerSilent(#[from] PeerSilent),
}

/// Serves a session until the client ends it, or `drain` is cancelled and the last tunnel ended: the
/// client hears GOAWAY at once and opens no more. Dropping the future cuts every tunnel.
pub async fn serve<S, R>(io: S, respond: Arc<R>, drain: CancellationToken) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Respond,
{
    let mut connection = handshake(io).await?;
    let mut silence = std::pin::pin!(keepalive::watch(connection.ping_pong()));
    let mut tunnels = JoinSet::new();
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            request = connection.accept() => match request {
                Some(Ok((request, answer))) => take(request, answer, &respond, &mut tunnels),
                Some(Err(error)) => break ordinary(error, &mut tunnels),
                None => break Ok(()),
            },
            error = &mut silence => break Err(error.into()),
            () = drain.cancelled(), if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
            Some(_) = tunnels.join_next() => {}
        }
    };
    // The tunnels see their streams break and close the application's ends in their own order.
    drop(connection);
    while tunnels.join_next().await.is_some() {}
    ended
}

/// A client that goes while no tunnel is open may close before it read our own farewell.
fn ordinary(error: h2::Error, tunnels: &mut JoinSet<()>) -> Result<(), ServeError> {
    while tunnels.try_join_next().is_some() {}
    if error.is_io() && tunnels.is_empty() { Ok(()) } else { Err(error.into()) }
}

async fn handshake<S>(io: S) -> Result<Connection<S, Bytes>, ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(SERVER_STREAMS)
        .max_header_list_size(REQUEST_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(CAUSED_RESETS));
    match tokio::time::timeout(PREFACE_TIMEOUT, builder.handshake(io)).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(ServeError::NoPreface),
    }
}

fn take<R: Respond>(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    respond: &Arc<R>,
    tunnels: &mut JoinSet<()>,
) {
    match Connect::decode(&request) {
        Ok(connect) => {
            let (incoming, respond) = (Incoming { connect, read: request.into_body(), answer }, respond.clone());
            tunnels.spawn(async move { respond.respond(incoming).await });
        }
        Err(error) => {
            debug!(%error, "HBONE request refused");
            send_refusal(&mut answer, Refusal::BadRequest);
        }
    }
}

fn send_refusal(answer: &mut SendResponse<Bytes>, refusal: Refusal) {
    let mut response = Response::new(());
    *response.status_mut() = match refusal.status() {
        StatusCode::OK => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    };
    // Fails only when the client is gone.
    let _ = answer.send_response(response, true);
}
