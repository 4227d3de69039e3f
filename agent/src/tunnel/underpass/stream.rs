//! A session as a byte stream, for the HTTP relay: it brings its own client and connection pool.

use super::frame::Kind;
use super::report::Report;
use super::session::{Incoming, Session};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection on a session, which is of no further use then.
pub struct SessionStream {
    shared: Arc<Shared>,
    unread: Range<usize>,
    ended: bool,
    end_sent: bool,
}

/// The session, and the reports that are to leave on it.
struct Shared {
    session: Mutex<Session>,
    waiting: Mutex<Waiting>,
    /// It is on the list of [`Reports`].
    listed: AtomicBool,
    /// The stream is gone: what is left now must leave at once.
    dropped: AtomicBool,
}

/// Payloads, one behind the other: their memory is used again.
#[derive(Default)]
struct Waiting {
    payloads: Vec<u8>,
    ends: Vec<usize>,
}

/// Where reports of routed requests are left. They leave with the stream's next write, at its end, or when
/// [`Reports::flush`] finds that nothing else does: a packet of its own for each would cost as much as the request.
#[derive(Clone)]
pub struct ReportSink {
    shared: Arc<Shared>,
    reports: Reports,
}

/// The streams of an agent on which reports wait.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Vec<Weak<Shared>>>>);

/// Most reports that wait on one stream.
const MAX_WAITING: usize = 1024;

impl Reports {
    /// Sends what waits. Call it a few times a second.
    pub fn flush(&self) {
        let listed = std::mem::take(&mut *lock(&self.0));
        for shared in listed.iter().filter_map(Weak::upgrade) {
            shared.listed.store(false, Ordering::Release);
            shared.send_reports();
        }
    }
}

impl ReportSink {
    /// Leaves a report for the destination's agent.
    pub fn push(&self, report: &Report<'_>) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.ends.len() < MAX_WAITING {
            report.encode(&mut waiting.payloads);
            let end = waiting.payloads.len();
            waiting.ends.push(end);
        }
        drop(waiting);
        if self.shared.dropped.load(Ordering::Acquire) {
            return self.shared.send_reports();
        }
        if !self.shared.listed.swap(true, Ordering::AcqRel) {
            lock(&self.reports.0).push(Arc::downgrade(&self.shared));
        }
    }
}

impl Shared {
    fn queue_reports(&self, session: &mut Session) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        let Waiting { payloads, ends } = &mut *waiting;
        let mut start = 0;
        for end in ends.drain(..) {
            session.control(Kind::Report, &payloads[start..end]).map_err(broken)?;
            start = end;
        }
        payloads.clear();
        Ok(())
    }

    /// Sends reports and end, as far as the network takes them: nobody waits for the rest.
    fn send_rest(&self) {
        let mut session = lock(&self.session);
        let _ = self.queue_reports(&mut session);
        let _ = session.wire.poll_send(&mut Context::from_waker(Waker::noop()));
    }

    /// Sends the reports at once, unless other bytes wait for the network: then its own task is at it.
    fn send_reports(&self) {
        let mut session = lock(&self.session);
        if session.wire.has_unsent() || self.queue_reports(&mut session).is_err() {
            return;
        }
        let _ = session.wire.poll_send(&mut Context::from_waker(Waker::noop()));
    }
}

impl Drop for SessionStream {
    /// The destination's agent hears an end, so that it does not take a connection that is let go for a broken one.
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::Release);
        if !self.end_sent {
            let _ = lock(&self.shared.session).control(Kind::End, &[]);
        }
        self.shared.send_rest();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl SessionStream {
    /// The stream of the connection that [`Session::open`] queued on `session`.
    pub fn new(session: Session) -> Self {
        let (session, waiting) = (Mutex::new(session), Mutex::default());
        let shared =
            Arc::new(Shared { session, waiting, listed: AtomicBool::new(false), dropped: AtomicBool::new(false) });
        Self { shared, unread: 0..0, ended: false, end_sent: false }
    }

    /// The server's end of a connection whose OPEN came on `session`; the client hears that it is the last one.
    ///
    /// # Errors
    /// The session broke.
    pub fn of_server(mut session: Session) -> io::Result<Self> {
        session.control(Kind::Farewell, &[]).map_err(broken)?;
        Ok(Self::new(session))
    }

    /// Breaks the connection off so that the other end sees a reset.
    pub fn reset(mut self) {
        self.end_sent = true;
        let _ = lock(&self.shared.session).control(Kind::Reset, &[]);
    }

    /// Whether other streams travel on the same connection.
    pub fn shares(&self) -> bool {
        lock(&self.shared.session).tcp().is_none()
    }

    /// Where to leave reports.
    pub fn reports(&self, reports: &Reports) -> ReportSink {
        ReportSink { shared: Arc::clone(&self.shared), reports: reports.clone() }
    }
}

/// What a control frame means to the stream: whether the peer has ended.
fn control(session: &mut Session, kind: Kind, payload: &[u8]) -> io::Result<bool> {
    match kind {
        Kind::End => Ok(true),
        Kind::Farewell => {
            session.retiring = true;
            Ok(false)
        }
        Kind::Refused => {
            let text = String::from_utf8_lossy(payload.get(1..).unwrap_or_default()).into_owned();
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, text))
        }
        // Requests that are relayed at this end are counted where they are relayed.
        Kind::Report => Ok(false),
        _ => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut session = lock(&this.shared.session);
        while this.unread.is_empty() {
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            match session.next_incoming().map_err(broken)? {
                Some(Incoming::Data(piece)) => this.unread = piece,
                Some(Incoming::Control(kind, payload)) => this.ended = control(&mut session, kind, &payload)?,
                None if ready!(session.wire.poll_receive(cx))? == 0 => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                None => {}
            }
        }
        let len = this.unread.len().min(out.remaining());
        out.put_slice(&session.wire.received()[this.unread.start..this.unread.start + len]);
        this.unread.start += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut session = lock(&self.shared.session);
        if session.wire.is_backed_up() {
            ready!(session.wire.poll_send(cx))?;
        }
        self.shared.queue_reports(&mut session)?;
        let room = session.vacant_data();
        let mut filled = 0;
        for slice in slices {
            let len = slice.len().min(room.len() - filled);
            room[filled..filled + len].copy_from_slice(&slice[..len]);
            filled += len;
        }
        if filled > 0 {
            session.queue_data(filled).map_err(broken)?;
        }
        Poll::Ready(Ok(filled))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.shared.session).wire.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut session = lock(&this.shared.session);
        if !this.end_sent {
            this.shared.queue_reports(&mut session)?;
            session.control(Kind::End, &[]).map_err(broken)?;
            this.end_sent = true;
        }
        session.wire.poll_send(cx)
    }
}
