//! A session: frames on a TLS stream, or on a lane of one, in both directions.

use super::super::tls::{RecordError, TlsInfo, TlsStream};
use super::carry::CarryError;
use super::frame::{self, FrameError, HEADER, Kind, MAX_DATA, Open, RefusalCode};
use super::report::Report;
use super::trunk::Lane;
use super::wire::Wire;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use thiserror::Error;
use tokio::net::TcpStream;

/// Why a session is of no more use.
#[derive(Debug, Error)]
pub enum SessionError {
    /// TCP broke, or ended in the middle.
    #[error("tunnel broke: {0}")]
    Io(#[from] io::Error),
    /// TLS refused the bytes.
    #[error("tunnel: {0}")]
    Record(#[from] RecordError),
    /// The peer does not keep to the protocol.
    #[error("tunnel: {0}")]
    Frame(#[from] FrameError),
}

/// What came: a piece of payload in the receive buffer, or a control frame.
#[derive(Debug)]
pub enum Incoming {
    /// Application bytes at this range of what the wire has received.
    Data(Range<usize>),
    /// A control frame with its payload.
    Control(Kind, Vec<u8>),
}

/// A control frame with its payload.
type Frame = (Kind, Vec<u8>);

/// One end of a session.
pub struct Session {
    pub(super) wire: Wire,
    /// The record that is being taken apart.
    record: Range<usize>,
    partial: Partial,
    /// When its handshake ended.
    pub(super) born: Instant,
    /// When it was last given back to the pool.
    pub(super) idle_since: Instant,
    /// No further connection may start on it.
    pub(super) retiring: bool,
}

/// A frame that has begun and not ended.
enum Partial {
    Header([u8; HEADER], usize),
    Data(usize),
    Control(Kind, usize, Vec<u8>),
}

const FRESH: Partial = Partial::Header([0; HEADER], 0);

impl Session {
    /// A session on a stream whose handshake chose `underpass/1`.
    pub fn new(tls: TlsStream) -> Self {
        Self::over(Wire::Own(tls))
    }

    /// A session that shares its stream with others.
    pub fn on(lane: Lane) -> Self {
        Self::over(Wire::Lane(lane))
    }

    fn over(wire: Wire) -> Self {
        let now = Instant::now();
        Self { wire, record: 0..0, partial: FRESH, born: now, idle_since: now, retiring: false }
    }

    /// What the handshake underneath agreed on.
    pub fn info(&self) -> &TlsInfo {
        self.wire.info()
    }

    /// The TCP connection underneath, if nobody else uses it.
    pub fn tcp(&self) -> Option<&TcpStream> {
        self.wire.tcp()
    }

    /// Queues the start of a connection; the next flush carries it.
    ///
    /// # Errors
    /// [`SessionError`]; the session must be dropped.
    pub fn open(&mut self, open: &Open) -> Result<(), SessionError> {
        self.control(Kind::Open, &open.encode())
    }

    /// Waits for the next connection; `None` when the peer is done with the session. `late` is told of requests of the
    /// connection before, whose reports came behind its end.
    ///
    /// # Errors
    /// [`SessionError`]; the session must be dropped.
    pub async fn next_open(&mut self, late: &(dyn Fn(Report<'_>) + Send + Sync)) -> Result<Option<Open>, SessionError> {
        loop {
            match std::future::poll_fn(|cx| self.poll_control(cx)).await? {
                Some((Kind::Open, payload)) => return Ok(Some(Open::decode(&payload)?)),
                Some((Kind::Report, payload)) => late(Report::decode(&payload)?),
                Some((kind, _)) => return Err(FrameError::Unexpected(kind).into()),
                None => return Ok(None),
            }
        }
    }

    /// The next frame where only a control frame is due; `None` at the session's end.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, SessionError>> {
        // What waits for the network does not keep us from reading.
        let _ = self.wire.poll_send(cx)?;
        loop {
            match self.next_incoming()? {
                Some(Incoming::Control(Kind::Farewell, _)) => self.retiring = true,
                Some(Incoming::Control(kind, payload)) => return Poll::Ready(Ok(Some((kind, payload)))),
                Some(Incoming::Data(_)) => return Poll::Ready(Err(FrameError::Unexpected(Kind::Data).into())),
                None if self.wire.is_closed() || ready!(self.wire.poll_receive(cx))? == 0 => {
                    return Poll::Ready(Ok(None));
                }
                None => {}
            }
        }
    }

    /// Answers an OPEN that cannot be served: nothing reached the application. What the client sent in hope is let go,
    /// and the session is free again when the client has ended.
    ///
    /// # Errors
    /// [`SessionError`]; the session must be dropped.
    pub async fn refuse(&mut self, code: RefusalCode, text: &str) -> Result<(), SessionError> {
        let mut payload = vec![code.code()];
        payload.extend(text.bytes().take(512));
        self.control(Kind::Refused, &payload)?;
        self.flush().await?;
        std::future::poll_fn(|cx| self.poll_ended(cx)).await
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            match self.next_incoming()? {
                Some(Incoming::Control(Kind::End | Kind::Reset, _)) => return Poll::Ready(Ok(())),
                Some(_) => {}
                None if ready!(self.wire.poll_receive(cx))? == 0 => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
                }
                None => {}
            }
        }
    }

    /// Tells a client that waits for it that the application took the connection.
    ///
    /// # Errors
    /// [`SessionError`]; the session must be dropped.
    pub async fn confirm(&mut self) -> Result<(), SessionError> {
        self.control(Kind::Accepted, &[])?;
        self.flush().await
    }

    /// Sends what is queued and waits for the peer's answer to an OPEN that asked for one.
    ///
    /// # Errors
    /// The refusal, after which the session must be dropped as after any other error.
    pub async fn accepted(&mut self) -> Result<(), CarryError> {
        self.flush().await?;
        let answer = std::future::poll_fn(|cx| self.poll_control(cx)).await?;
        match answer {
            Some((Kind::Accepted, _)) => Ok(()),
            Some((Kind::Refused, payload)) => Err(CarryError::refused(&payload, None)),
            Some((kind, _)) => Err(SessionError::from(FrameError::Unexpected(kind)).into()),
            None => Err(SessionError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into()),
        }
    }

    /// Asks the client to open no more connections here.
    ///
    /// # Errors
    /// [`SessionError`]; the session must be dropped.
    pub async fn say_farewell(&mut self) -> Result<(), SessionError> {
        self.retiring = true;
        self.control(Kind::Farewell, &[])?;
        self.flush().await
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`SessionError`]; the session must be dropped.
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        Ok(std::future::poll_fn(|cx| self.wire.poll_send(cx)).await?)
    }

    /// Whether it may carry another connection: nothing is under way and the peer is there.
    pub fn is_reusable(&self) -> bool {
        !self.retiring
            && self.record.is_empty()
            && matches!(self.partial, Partial::Header(_, 0))
            && self.wire.is_quiet()
    }

    /// Queues a control frame as a record of its own.
    pub(super) fn control(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SessionError> {
        let room = self.wire.vacant();
        room[..HEADER].copy_from_slice(&frame::encode_header(kind, payload.len()));
        room[HEADER..HEADER + payload.len()].copy_from_slice(payload);
        Ok(self.wire.seal(HEADER + payload.len())?)
    }

    /// Room for application bytes, to be queued by [`Self::queue_data`].
    pub(super) fn vacant_data(&mut self) -> &mut [u8] {
        &mut self.wire.vacant()[HEADER..HEADER + MAX_DATA]
    }

    /// Queues the first `len` bytes of [`Self::vacant_data`] as a DATA frame.
    pub(super) fn queue_data(&mut self, len: usize) -> Result<(), SessionError> {
        self.wire.vacant()[..HEADER].copy_from_slice(&frame::encode_header(Kind::Data, len));
        Ok(self.wire.seal(HEADER + len)?)
    }

    /// Takes the next piece out of the bytes received; `None` when more must be received first.
    pub(super) fn next_incoming(&mut self) -> Result<Option<Incoming>, SessionError> {
        loop {
            if self.record.is_empty() {
                let Some(record) = self.wire.next_record()? else {
                    return Ok(None);
                };
                self.record = record;
            }
            if let Some(incoming) = self.take_apart()? {
                return Ok(Some(incoming));
            }
        }
    }

    /// Advances through the record at hand; frames may span records, though ours do not.
    fn take_apart(&mut self) -> Result<Option<Incoming>, SessionError> {
        match &mut self.partial {
            Partial::Header(header, filled) => {
                let len = (HEADER - *filled).min(self.record.len());
                let bytes = &self.wire.received()[self.record.start..self.record.start + len];
                header[*filled..*filled + len].copy_from_slice(bytes);
                *filled += len;
                self.record.start += len;
                if *filled < HEADER {
                    return Ok(None);
                }
                self.partial = match frame::decode_header(*header)? {
                    (Kind::Data, 0) => FRESH,
                    (Kind::Data, len) => Partial::Data(len),
                    (kind, 0) => {
                        self.partial = FRESH;
                        return Ok(Some(Incoming::Control(kind, Vec::new())));
                    }
                    (kind, len) => Partial::Control(kind, len, Vec::with_capacity(len)),
                };
                Ok(None)
            }
            Partial::Data(remaining) => {
                let range = self.record.start..self.record.start + self.record.len().min(*remaining);
                self.record.start = range.end;
                *remaining -= range.len();
                if *remaining == 0 {
                    self.partial = FRESH;
                }
                Ok(Some(Incoming::Data(range)))
            }
            Partial::Control(kind, len, payload) => {
                let take = self.record.len().min(*len - payload.len());
                payload.extend(&self.wire.received()[self.record.start..self.record.start + take]);
                self.record.start += take;
                if payload.len() < *len {
                    return Ok(None);
                }
                let incoming = Incoming::Control(*kind, std::mem::take(payload));
                self.partial = FRESH;
                Ok(Some(incoming))
            }
        }
    }
}
