//! One HTTP/2 session to a peer, shared by many tunnels.

use super::baggage::Baggage;
use super::header::Connect;
use super::keepalive;
use super::refusal::Refusal;
use super::stream::Stream;
use super::{
    CLIENT_STREAMS, CONNECTION_WINDOW, FRAME, PREFACE_TIMEOUT, RESPONSE_HEADERS, SEND_BUFFER, SMALL_FRAMES,
    STREAM_WINDOW,
};
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Error, Reason};
use http::Request;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// A session that was opened from here.
pub(super) struct Session {
    /// The connection says farewell (GOAWAY) and closes when the last clone of this is gone and the
    /// last stream ended.
    sender: SendRequest<Bytes>,
    places: Arc<Semaphore>,
    last_used: Mutex<Instant>,
    /// Cuts the connection, streams and all.
    cut: CancellationToken,
}

/// What came of a request in a session.
pub(super) enum Answer {
    /// 200.
    Open(Stream, Baggage),
    /// Another status.
    Refused(Refusal),
    /// The peer certainly did nothing about it: another session may be tried.
    Untouched(Error),
    /// The session broke and nobody knows how far the request came.
    Broken(Error),
    /// The peer reset this one stream.
    Reset(Error),
}

impl Session {
    /// Exchanges prefaces over an established transport. The future that is returned with the
    /// session drives it and must be polled until it ends, as the session does.
    pub(super) async fn start<S>(io: S) -> Result<(Self, impl Future<Output = ()> + Send + 'static), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .initial_max_send_streams(CLIENT_STREAMS)
            .max_header_list_size(RESPONSE_HEADERS)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES)
            .enable_push(false);
        let handshake = tokio::time::timeout(PREFACE_TIMEOUT, builder.handshake(io)).await;
        let (sender, connection) = handshake.unwrap_or_else(|_| Err(Reason::SETTINGS_TIMEOUT.into()))?;
        let cut = CancellationToken::new();
        let session = Self {
            sender,
            places: Arc::new(Semaphore::new(CLIENT_STREAMS)),
            last_used: Mutex::new(Instant::now()),
            cut: cut.clone(),
        };
        Ok((session, drive(connection, cut)))
    }

    /// A place for one more stream, if the session takes any.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The peer's own limit may be lower than ours; it is known once its SETTINGS came.
        if self.open_streams() >= self.sender.current_max_send_streams() {
            return None;
        }
        let place = self.places.clone().try_acquire_owned().ok()?;
        self.touch();
        Some(place)
    }

    /// Sends the request and waits for the answer. Dropped before, it resets the stream.
    pub(super) async fn connect(&self, request: Request<()>, place: OwnedSemaphorePermit) -> Answer {
        let mut sender = self.sender.clone();
        if let Err(error) = poll_fn(|cx| sender.poll_ready(cx)).await {
            return Answer::Untouched(error);
        }
        let (response, write) = match sender.send_request(request, false) {
            Ok(sent) => sent,
            Err(error) => return Answer::Untouched(error),
        };
        drop(sender);
        let response = match response.await {
            Ok(response) => response,
            Err(error) => return Answer::of(error),
        };
        if let Some(refusal) = Refusal::of(response.status()) {
            return Answer::Refused(refusal);
        }
        let baggage = Connect::baggage_of(response.headers());
        Answer::Open(Stream::new(response.into_body(), write, Some(place)), baggage)
    }

    /// Whether a request can still be sent: no GOAWAY came, the connection stands.
    pub(super) fn is_alive(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.cut.is_cancelled() && !matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Streams under way.
    pub(super) fn open_streams(&self) -> usize {
        CLIENT_STREAMS - self.places.available_permits()
    }

    /// How long the session has been of no use, as far as those who asked saw.
    pub(super) fn idle_for(&self) -> Duration {
        if self.open_streams() > 0 {
            self.touch();
        }
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends the session now; its streams break.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Answer {
    /// A GOAWAY is reported to the streams beyond its last id only: those were not processed (RFC
    /// 9113, 6.8); REFUSED_STREAM says the same of one stream (8.7).
    fn of(error: Error) -> Self {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        if error.is_remote() && (refused || error.is_go_away()) {
            return Self::Untouched(error);
        }
        if error.is_reset() { Self::Reset(error) } else { Self::Broken(error) }
    }
}

async fn drive<S>(mut connection: Connection<S, Bytes>, cut: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let silence = keepalive::watch(connection.ping_pong());
    tokio::select! {
        result = connection => match result {
            Ok(()) => debug!("HBONE session ended"),
            Err(error) => debug!(%error, "HBONE session broke"),
        },
        error = silence => debug!(%error, "HBONE session given up"),
        () = cut.cancelled() => {}
    }
    cut.cancel();
}
