//! An HTTP/1 connection to an application: one request at a time, driven by whoever has it.
//!
//! No task of its own: the client's task writes the request, waits, and reads the answer. A connection at rest is
//! watched by nobody; that its peer closed it is seen when it is taken, or by the pool's round.

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

/// The stream under it.
pub(super) type Wire<U> = Tapped<<U as Upstreams>::Io, Arc<Heard>>;

/// See the module.
pub(super) struct Line<U: Upstreams> {
    sender: SendRequest<RequestBody>,
    connection: Option<Connection<TokioIo<Wire<U>>, RequestBody>>,
    /// What is left of a connection that has left HTTP, with what was read ahead.
    left: Option<(Wire<U>, Bytes)>,
    heard: Arc<Heard>,
    /// Of `heard` when the present request was sent.
    before: u64,
    sent: u32,
    pub(super) wear: Wear,
    pub(super) handle: U::Handle,
    pub(super) key: U::Key,
}

impl<U: Upstreams> Line<U> {
    /// # Errors
    /// None that hyper documents; it sends nothing yet.
    pub(super) async fn open(
        dialed: Dialed<U::Io, U::Handle>,
        key: U::Key,
        header_bytes: usize,
    ) -> hyper::Result<Box<Self>> {
        let heard = Arc::<Heard>::default();
        let wire = TokioIo::new(Tapped::new(dialed.io, Bytes::new(), Arc::clone(&heard)));
        let (sender, connection) = Builder::new()
            .preserve_header_case(true)
            .max_buf_size(header_bytes)
            .max_header_size(header_bytes)
            .handshake(wire)
            .await?;
        let connection = Some(connection);
        let (handle, wear) = (dialed.handle, dialed.wear);
        Ok(Box::new(Self { sender, connection, left: None, heard, before: 0, sent: 0, wear, handle, key }))
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection broke first; has the request if none of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.before = self.heard.so_far();
        self.sent = self.sent.saturating_add(1);
        let mut reply = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.connection, &mut self.left, cx);
            reply.as_mut().poll(cx)
        })
        .await
    }

    /// Not a byte came since the present request was sent.
    pub(super) fn is_silent(&self) -> bool {
        self.heard.so_far() == self.before
    }

    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.left, cx);
    }

    /// At rest, open as far as is known, and ready for a request. Lets go of the last user's waker.
    pub(super) fn rests(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Whether it has carried as many requests as it may.
    pub(super) fn is_worn(&self) -> bool {
        self.wear.requests.is_some_and(|most| self.sent >= most)
    }

    /// Closes a connection at rest, in order as far as that needs no waiting.
    pub(super) fn retire(self) {
        let Self { sender, connection, .. } = self;
        drop(sender);
        if let Some(mut connection) = connection {
            let _ = Pin::new(&mut connection).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// The stream once both sides have left HTTP.
    ///
    /// # Errors
    /// It broke before.
    pub(super) async fn leave(mut self: Box<Self>) -> Option<Wire<U>> {
        poll_fn(|cx| {
            self.drive(cx);
            if self.connection.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        self.left.take().map(|(wire, read_ahead)| wire.put_back(read_ahead))
    }
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
