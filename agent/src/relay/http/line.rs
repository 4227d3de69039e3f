//! An HTTP/1 connection to an application: one request at a time, driven by whoever has it.
//!
//! No task of its own: the client's task writes the request, waits, and reads the answer. A connection at rest is
//! watched by nobody; that its peer closed it is seen when it is taken, or by the pool's round. Whether hyper drives it
//! depends on the request: see [`super::plain`].

use super::body::RequestBody;
use super::tapped::{Heard, Tapped};
use super::{Dialed, Upstreams, Wear};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The stream under it.
pub(super) type Wire<U> = Tapped<<U as Upstreams>::Io, Arc<Heard>>;

/// See the module.
pub(super) struct Line<U: Upstreams> {
    state: State<U>,
    heard: Arc<Heard>,
    /// Of `heard` when the present request was sent.
    before: u64,
    sent: u32,
    /// When it takes no more requests.
    ends: Option<Instant>,
    pub(super) wear: Wear,
    pub(super) shares: bool,
    pub(super) handle: U::Handle,
    pub(super) key: U::Key,
}

enum State<U: Upstreams> {
    /// Nobody has read ahead.
    Bare(Wire<U>),
    Driven(Box<Driven<U>>),
    Gone,
}

/// By hyper.
struct Driven<U: Upstreams> {
    sender: SendRequest<RequestBody>,
    connection: Option<Connection<TokioIo<Wire<U>>, RequestBody>>,
    /// What is left of a connection that has left HTTP, with what was read ahead.
    left: Option<(Wire<U>, Bytes)>,
}

impl<U: Upstreams> Line<U> {
    pub(super) fn new(dialed: Dialed<U::Io, U::Handle>, key: U::Key) -> Self {
        let heard = Arc::<Heard>::default();
        let state = State::Bare(Tapped::new(dialed.io, Bytes::new(), Arc::clone(&heard)));
        let Dialed { wear, shares, handle, .. } = dialed;
        let ends = wear.age.map(|age| Instant::now() + age);
        Self { state, heard, before: 0, sent: 0, ends, wear, shares, handle, key }
    }

    /// Has hyper drive it.
    ///
    /// # Errors
    /// None that hyper documents; it sends nothing yet.
    pub(super) async fn driven(&mut self, header_bytes: usize) -> hyper::Result<()> {
        let wire = match std::mem::replace(&mut self.state, State::Gone) {
            State::Bare(wire) => wire,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let (sender, connection) = Builder::new()
            .preserve_header_case(true)
            .max_buf_size(header_bytes)
            .max_header_size(header_bytes)
            .handshake(TokioIo::new(wire))
            .await?;
        self.state = State::Driven(Box::new(Driven { sender, connection: Some(connection), left: None }));
        Ok(())
    }

    /// The stream itself, for the next request; none if it is not at rest.
    pub(super) fn begin(&mut self) -> Option<&mut Wire<U>> {
        self.counts();
        let at_rest = self.rests();
        let state = std::mem::replace(&mut self.state, State::Gone);
        self.state = match state {
            State::Driven(driven) if at_rest => driven.connection.map_or(State::Gone, bared),
            state => state,
        };
        if at_rest { self.wire() } else { None }
    }

    /// The stream itself, while nobody else drives it.
    pub(super) fn wire(&mut self) -> Option<&mut Wire<U>> {
        match &mut self.state {
            State::Bare(wire) => Some(wire),
            _ => None,
        }
    }

    fn counts(&mut self) {
        self.before = self.heard.so_far();
        self.sent = self.sent.saturating_add(1);
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection broke first; has the request if none of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.counts();
        let State::Driven(driven) = &mut self.state else { unreachable!("`driven` comes before") };
        let Driven { sender, connection, left } = &mut **driven;
        let mut reply = pin!(sender.try_send_request(request));
        poll_fn(|cx| {
            drive(connection, left, cx);
            reply.as_mut().poll(cx)
        })
        .await
    }

    /// Not a byte came since the present request was sent.
    pub(super) fn is_silent(&self) -> bool {
        self.heard.so_far() == self.before
    }

    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let State::Driven(driven) = &mut self.state {
            drive(&mut driven.connection, &mut driven.left, cx);
        }
    }

    /// At rest, open as far as is known, and ready for a request. Lets go of the last user's waker.
    pub(super) fn rests(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.drive(&mut cx);
        match &mut self.state {
            State::Bare(wire) => Pin::new(wire).poll_read(&mut cx, &mut ReadBuf::new(&mut [0])).is_pending(),
            State::Driven(driven) => driven.connection.is_some() && driven.sender.is_ready(),
            State::Gone => false,
        }
    }

    /// Whether it has carried as many requests as it may, or for as long.
    pub(super) fn is_worn(&self) -> bool {
        self.wear.requests.is_some_and(|most| self.sent >= most) || self.ends.is_some_and(|end| Instant::now() >= end)
    }

    /// Closes a connection at rest, in order as far as that needs no waiting.
    pub(super) fn retire(self) {
        let mut cx = Context::from_waker(Waker::noop());
        match self.state {
            State::Bare(mut wire) => {
                let _ = Pin::new(&mut wire).poll_shutdown(&mut cx);
            }
            State::Driven(driven) => {
                let Driven { connection: Some(mut connection), sender, .. } = *driven else { return };
                drop(sender);
                let _ = Pin::new(&mut connection).poll(&mut cx);
            }
            State::Gone => {}
        }
    }

    /// The stream once both sides have left HTTP.
    ///
    /// # Errors
    /// It broke before.
    pub(super) async fn leave(mut self: Box<Self>) -> Option<Wire<U>> {
        let State::Driven(driven) = &mut self.state else { return None };
        poll_fn(|cx| {
            drive(&mut driven.connection, &mut driven.left, cx);
            if driven.connection.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        driven.left.take().map(|(wire, read_ahead)| wire.put_back(read_ahead))
    }
}

/// Takes hyper off a connection at rest.
fn bared<U: Upstreams>(connection: Connection<TokioIo<Wire<U>>, RequestBody>) -> State<U> {
    let parts = connection.into_parts();
    if parts.read_buf.is_empty() { State::Bare(parts.io.into_inner()) } else { State::Gone }
}

/// Polls the connection. One that ended is taken apart at once: that hands an unsent request back to its sender.
fn drive<W>(
    connection: &mut Option<Connection<TokioIo<W>, RequestBody>>,
    left: &mut Option<(W, Bytes)>,
    cx: &mut Context<'_>,
) where
    TokioIo<W>: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let Some(open) = connection else { return };
    let Poll::Ready(ended) = open.poll_without_shutdown(cx) else { return };
    let Some(gone) = connection.take() else { return };
    if ended.is_ok() {
        let parts = gone.into_parts();
        *left = Some((parts.io.into_inner(), parts.read_buf));
    }
}
