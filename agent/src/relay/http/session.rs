//! HTTP/2 connections to one endpoint, shared by requests.

use super::body::RequestBody;
use super::pool::IDLE;
use super::{Dialed, Upstreams, Wear};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::time::Instant;

/// All sessions of one key, of one thread.
pub(super) struct Sessions<U: Upstreams> {
    open: Mutex<Vec<Arc<Session<U>>>>,
    /// Held while one request dials, so that the others wait for its session instead of dialing too.
    pub(super) dialing: tokio::sync::Mutex<()>,
}

/// One connection. It closes when the last of its requests and the pool have let go of it.
pub(super) struct Session<U: Upstreams> {
    sender: SendRequest<RequestBody>,
    pub(super) handle: U::Handle,
    wear: Wear,
    connection: Shared<U>,
    streams: AtomicUsize,
    /// Streams so far.
    begun: AtomicU32,
    /// Streams that the peer allows; 0 until its settings came.
    limit: AtomicUsize,
    /// A request learned that it takes no more.
    gone: AtomicBool,
    /// When it takes no more.
    ends: Option<Instant>,
    idle: Mutex<Instant>,
}

/// Taken out when it ended: what is sent to it then fails at once.
type Shared<U> = Arc<Mutex<Option<Connection<TokioIo<<U as Upstreams>::Io>, RequestBody, TokioExecutor>>>>;

/// One stream's place in a session.
pub(super) struct Ticket<U: Upstreams> {
    session: Arc<Session<U>>,
}

/// Streams of one session, however many the peer allows: more are spread, so that both sides use more cores.
const STREAMS: usize = 100;
/// A stream's window; hyper's own defaults are of the same order.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

impl<U: Upstreams> Default for Sessions<U> {
    fn default() -> Self {
        Self { open: Mutex::default(), dialing: tokio::sync::Mutex::default() }
    }
}

impl<U: Upstreams> Sessions<U> {
    /// A place in an open session.
    pub(super) fn take(&self) -> Option<Ticket<U>> {
        let open = lock(&self.open);
        let session = open.iter().find(|session| session.has_room())?;
        Some(Ticket::new(session))
    }

    /// Speaks HTTP/2 on a new stream and takes the first place.
    ///
    /// # Errors
    /// The stream broke while the preface was written.
    pub(super) async fn open(&self, dialed: Dialed<U::Io, U::Handle>, header_bytes: u32) -> hyper::Result<Ticket<U>> {
        let mut builder = Builder::new(TokioExecutor::new());
        if let Some((interval, patience)) = dialed.wear.ping {
            builder.timer(TokioTimer::new()).keep_alive_interval(interval).keep_alive_timeout(patience);
        }
        let (sender, connection) = builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(header_bytes)
            // Until the peer has said how many it allows, streams wait: hyper would guess 100, and a body that was
            // sent on a stream beyond the limit could not be sent again.
            .initial_max_send_streams(0)
            .handshake(TokioIo::new(dialed.io))
            .await?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        tokio::spawn(run::<U>(Arc::clone(&connection)));
        let session = Arc::new(Session {
            sender,
            handle: dialed.handle,
            ends: dialed.wear.age.map(|age| Instant::now() + age),
            wear: dialed.wear,
            connection,
            streams: AtomicUsize::new(0),
            begun: AtomicU32::new(0),
            limit: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            idle: Mutex::new(Instant::now()),
        });
        let ticket = Ticket::new(&session);
        lock(&self.open).push(session);
        Ok(ticket)
    }

    /// Lets go of ended and idle sessions; false if none is left.
    pub(super) fn close_old(&self, now: Instant) -> bool {
        let mut open = lock(&self.open);
        open.retain(|session| session.is_open() && !session.is_old(now));
        !open.is_empty()
    }
}

/// Drives the connection. How it ended, its requests are told.
async fn run<U: Upstreams>(connection: Shared<U>) {
    poll_fn(|cx| {
        let mut open = lock(&connection);
        let Some(connection) = open.as_mut() else { return Poll::Ready(()) };
        Pin::new(connection).poll(cx).map(|_ended| *open = None)
    })
    .await;
}

impl<U: Upstreams> Session<U> {
    fn is_open(&self) -> bool {
        let aged = self.ends.is_some_and(|end| Instant::now() >= end);
        !aged && !self.gone.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    fn has_room(&self) -> bool {
        let own = self.wear.streams.map_or(STREAMS, |most| most as usize);
        let most = match self.allowed() {
            0 => own,
            allowed => allowed.min(own),
        };
        self.streams.load(Ordering::Relaxed) < most && self.is_open()
    }

    /// What the peer's first settings said. Later changes are not followed: streams beyond them wait.
    fn allowed(&self) -> usize {
        let known = self.limit.load(Ordering::Relaxed);
        if known > 0 {
            return known;
        }
        let told = lock(&self.connection).as_ref().map_or(0, Connection::current_max_send_streams);
        self.limit.store(told, Ordering::Relaxed);
        told
    }

    fn is_old(&self, now: Instant) -> bool {
        self.streams.load(Ordering::Relaxed) == 0
            && now.duration_since(*lock(&self.idle)) > self.wear.idle.unwrap_or(IDLE)
    }
}

impl<U: Upstreams> Ticket<U> {
    fn new(session: &Arc<Session<U>>) -> Self {
        session.streams.fetch_add(1, Ordering::Relaxed);
        if let Some(most) = session.wear.requests
            && session.begun.fetch_add(1, Ordering::Relaxed) + 1 >= most
        {
            session.gone.store(true, Ordering::Relaxed);
        }
        Self { session: Arc::clone(session) }
    }

    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.session.sender.clone()
    }

    pub(super) fn handle(&self) -> &U::Handle {
        &self.session.handle
    }

    /// No new request is to go there.
    pub(super) fn condemn(&self) {
        self.session.gone.store(true, Ordering::Relaxed);
    }
}

impl<U: Upstreams> Drop for Ticket<U> {
    fn drop(&mut self) {
        if self.session.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *lock(&self.session.idle) = Instant::now();
        }
    }
}

/// Holders only assign: the value is whole whatever happened.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
