//! Carries one connection between the application's socket and a session: one task, both directions, no copies.
//!
//! What the application wrote is read into the place where it is sealed; what the peer sent is written to the
//! application from where it was opened. Reads go on while they fill whole records, then one write sends all.

use super::frame::{FrameError, Kind, RefusalCode};
use super::report::Report;
use super::session::{Incoming, Session, SessionError};
use crate::vocab::Traffic;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Pieces that one write to the application gathers; a full receive buffer holds eight records.
const GATHER: usize = 16;
/// Bytes sent before the peer answered that are kept, so that another endpoint may get them after a refusal.
const RETAIN: usize = 16 * 1024;

/// Which end of the session this is.
pub enum Role<'a> {
    /// We opened the connection; these bytes of the application go first, and are counted already.
    Client(&'a [u8]),
    /// The peer did; it may report the requests that it routed.
    Server(&'a (dyn Fn(Report<'_>) + Send + Sync)),
}

/// Why a connection ended other than by both sides' end. The session is of no more use, but after a refusal.
#[derive(Debug, Error)]
pub enum CarryError {
    /// The application's socket broke.
    #[error("application's connection broke: {0}")]
    App(#[source] io::Error),
    /// The other application's connection broke.
    #[error("the other end's connection was reset")]
    PeerReset,
    /// The client's agent ended its side and left: nobody waits for the rest.
    #[error("the client left")]
    Left,
    /// The session broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer's agent did not connect; nothing was delivered.
    #[error("refused by the destination's agent: {text}")]
    Refused {
        /// Why.
        code: RefusalCode,
        /// Why, in words.
        text: String,
        /// What the application had sent by then, if it is all here.
        retained: Option<Vec<u8>>,
    },
}

impl CarryError {
    /// What a REFUSED frame says.
    pub(super) fn refused(payload: &[u8], retained: Option<Vec<u8>>) -> Self {
        let (code, text) = payload.split_first().map_or((3, &[][..]), |(code, text)| (*code, text));
        let text = String::from_utf8_lossy(text).into_owned();
        Self::Refused { code: RefusalCode::from_code(code), text, retained }
    }
}

impl Session {
    /// Carries one connection to its end. On success the session may carry another.
    ///
    /// # Errors
    /// [`CarryError`]; after `Refused` the session may carry another, else it must be dropped.
    pub async fn carry(&mut self, app: &mut TcpStream, role: Role<'_>, traffic: &Traffic) -> Result<(), CarryError> {
        let mut carry = Carry::new(self, app, role, traffic);
        carry.queue_first()?;
        let carried = poll_fn(|cx| carry.poll(cx)).await;
        match carried {
            Err(CarryError::Session(_)) if carry.ended && matches!(carry.role, Role::Server(_)) => {
                Err(CarryError::Left)
            }
            carried => carried,
        }
    }
}

struct Carry<'a> {
    session: &'a mut Session,
    app: &'a mut TcpStream,
    role: Role<'a>,
    traffic: &'a Traffic,
    reading: bool,
    ended: bool,
    shut: bool,
    pieces: Vec<Range<usize>>,
    written: usize,
    retained: Option<Vec<u8>>,
    /// Payloads of REPORT frames, for when nothing of the application waits for us.
    reports: Vec<Vec<u8>>,
}

impl<'a> Carry<'a> {
    fn new(session: &'a mut Session, app: &'a mut TcpStream, role: Role<'a>, traffic: &'a Traffic) -> Self {
        let retained = matches!(role, Role::Client(_)).then(Vec::new);
        Self {
            session,
            app,
            role,
            traffic,
            reading: true,
            ended: false,
            shut: false,
            pieces: Vec::with_capacity(GATHER),
            written: 0,
            retained,
            reports: Vec::new(),
        }
    }

    fn queue_first(&mut self) -> Result<(), CarryError> {
        let Role::Client(mut first) = self.role else {
            return Ok(());
        };
        while !first.is_empty() {
            let room = self.session.vacant_data();
            let len = room.len().min(first.len());
            room[..len].copy_from_slice(&first[..len]);
            self.queue(len)?;
            first = &first[len..];
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarryError>> {
        loop {
            let up = self.poll_up(cx)?;
            let down = self.poll_down(cx);
            self.report()?;
            let down = down?;
            if self.shut && !self.reading && !self.session.wire.has_unsent() {
                return Poll::Ready(Ok(()));
            }
            if up.is_pending() && down.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Application to tunnel: reads while there is room and something to read, then sends. Ready when it got on.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarryError>> {
        while self.reading && !self.session.wire.is_backed_up() {
            let mut room = ReadBuf::new(self.session.vacant_data());
            match Pin::new(&mut *self.app).poll_read(cx, &mut room) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.app_broke(error, cx))),
                Poll::Ready(Ok(())) => {}
            }
            match room.filled().len() {
                0 => {
                    self.reading = false;
                    self.session.control(Kind::End, &[])?;
                }
                len => {
                    self.count(len);
                    self.queue(len)?;
                }
            }
        }
        if !self.session.wire.has_unsent() {
            return Poll::Pending;
        }
        self.session.wire.poll_send(cx).map_err(|error| SessionError::from(error).into())
    }

    /// Tunnel to application: gathers what has come, then writes it at once. Ready when it got on.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarryError>> {
        if self.shut {
            return Poll::Pending;
        }
        if self.pieces.is_empty() && !self.ended {
            self.gather()?;
        }
        if !self.pieces.is_empty() {
            return self.poll_write(cx);
        }
        if self.ended {
            return self.poll_shut(cx);
        }
        match self.session.wire.poll_receive(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => {
                Poll::Ready(Err(SessionError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into()))
            }
            Poll::Ready(received) => {
                Poll::Ready(received.map(|_| ()).map_err(|error| SessionError::from(error).into()))
            }
        }
    }

    fn gather(&mut self) -> Result<(), CarryError> {
        while self.pieces.len() < GATHER && !self.ended {
            match self.session.next_incoming()? {
                None => break,
                Some(Incoming::Data(piece)) => {
                    // The peer has answered: what was kept for another endpoint is not needed any more.
                    self.retained = None;
                    self.pieces.push(piece);
                }
                Some(Incoming::Control(kind, payload)) => self.control(kind, payload)?,
            }
        }
        Ok(())
    }

    /// Passes reports on: the bytes that came with them have left.
    fn report(&mut self) -> Result<(), CarryError> {
        if let Role::Server(report) = self.role {
            for payload in self.reports.drain(..) {
                report(Report::decode(&payload).map_err(SessionError::from)?);
            }
        }
        Ok(())
    }

    fn control(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), CarryError> {
        match (kind, &self.role) {
            (Kind::End, _) => self.ended = true,
            (Kind::Farewell, Role::Client(_)) => self.session.retiring = true,
            (Kind::Report, Role::Server(_)) => self.reports.push(payload),
            (Kind::Reset, _) => return Err(CarryError::PeerReset),
            (Kind::Refused, Role::Client(_)) => return Err(self.refused(&payload)),
            _ => return Err(SessionError::from(FrameError::Unexpected(kind)).into()),
        }
        Ok(())
    }

    fn refused(&mut self, payload: &[u8]) -> CarryError {
        if self.reading {
            let _ = self.session.control(Kind::End, &[]);
        }
        CarryError::refused(payload, self.retained.take())
    }

    fn queue(&mut self, len: usize) -> Result<(), CarryError> {
        if let Some(retained) = &mut self.retained {
            if retained.len() + len <= RETAIN {
                retained.extend_from_slice(&self.session.vacant_data()[..len]);
            } else {
                self.retained = None;
            }
        }
        Ok(self.session.queue_data(len)?)
    }

    fn count(&self, len: usize) {
        match self.role {
            Role::Client(_) => self.traffic.add_to_server(len),
            Role::Server(_) => self.traffic.add_to_client(len),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarryError>> {
        let received = self.session.wire.received();
        let mut slices = [IoSlice::new(&[]); GATHER];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces[self.written..]) {
            *slice = IoSlice::new(&received[piece.clone()]);
        }
        let slices = &slices[..self.pieces.len() - self.written];
        match Pin::new(&mut *self.app).poll_write_vectored(cx, slices) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(len)) => {
                self.wrote(len);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.app_broke(error, cx))),
        }
    }

    fn wrote(&mut self, len: usize) {
        match self.role {
            Role::Client(_) => self.traffic.add_to_client(len),
            Role::Server(_) => self.traffic.add_to_server(len),
        }
        let mut left = len;
        while left > 0 {
            let piece = &mut self.pieces[self.written];
            let step = left.min(piece.len());
            piece.start += step;
            left -= step;
            if piece.start == piece.end {
                self.written += 1;
            }
        }
        if self.written == self.pieces.len() {
            self.pieces.clear();
            self.written = 0;
        }
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarryError>> {
        match Pin::new(&mut *self.app).poll_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.shut = true;
                Poll::Ready(Ok(()))
            }
            // ENOTCONN: the application reset its end meanwhile; the read tells.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                self.shut = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.app_broke(error, cx))),
        }
    }

    /// Tells the peer that there will be no end, so that its application sees a reset and not a clean close.
    fn app_broke(&mut self, error: io::Error, cx: &mut Context<'_>) -> CarryError {
        if self.session.control(Kind::Reset, &[]).is_ok() {
            let _ = self.session.wire.poll_send(cx);
        }
        CarryError::App(error)
    }
}
