//! An established TLS connection over TCP, with buffers that lend their bytes instead of copying them.

use super::keys::{KEY_UPDATE_RECORD, Keys, Opened};
use super::live::Ended;
use super::record::{Content, HEADER, MAX_PLAINTEXT, RecordError, TRAILER, record_len};
use crate::vocab::Alpn;
use rustls::pki_types::CertificateDer;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// First size of the receive buffer: a request or two, without touching more memory.
const RX_FIRST: usize = 8 * 1024;
/// Largest receive buffer: seven full records a read; 64 KiB and 256 KiB measured no better (iperf3, kernel-facts.md).
const RX_MOST: usize = 128 * 1024;
/// Room for one full record with its header and trailer.
const STRIDE: usize = HEADER + MAX_PLAINTEXT + TRAILER;
/// Sealed bytes that wait for one write; beyond it the sender waits for the network.
const TX_HIGH: usize = 4 * STRIDE;

/// What the handshake agreed on.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// What a tunnel's ends agreed on; none where they agreed on nothing, or it is no tunnel.
    pub alpn: Option<Alpn>,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The key exchange group, by its IANA name.
    pub group: &'static str,
    /// The peer's chain, leaf first; its signatures are verified.
    pub peer_certificates: Arc<[CertificateDer<'static>]>,
}

/// A TLS 1.3 connection. As `AsyncRead` and `AsyncWrite` it serves HTTP/2; `underpass/1` uses the methods that lend.
pub struct TlsStream {
    /// Its place among the live tunnels. Before the socket: it is given up before the socket's number may be another's.
    ended: Option<Ended>,
    io: TcpStream,
    keys: Keys,
    info: TlsInfo,
    rx: Vec<u8>,
    rx_filled: usize,
    rx_opened: usize,
    tx: Vec<u8>,
    tx_sealed: usize,
    tx_sent: usize,
    closed: bool,
    closing: bool,
    /// Plaintext that `AsyncRead` has opened and not yet handed over.
    unread: Range<usize>,
}

impl TlsStream {
    pub(super) fn new(io: TcpStream, keys: Keys, info: TlsInfo, read: Vec<u8>) -> Self {
        let rx_filled = read.len();
        Self {
            ended: None,
            io,
            keys,
            info,
            rx: read,
            rx_filled,
            rx_opened: 0,
            tx: Vec::new(),
            tx_sealed: 0,
            tx_sent: 0,
            closed: false,
            closing: false,
            unread: 0..0,
        }
    }

    /// What the handshake agreed on.
    pub fn info(&self) -> &TlsInfo {
        &self.info
    }

    /// Lets others end it.
    pub(super) fn live(&mut self, ended: Ended) {
        self.ended = Some(ended);
    }

    /// The TCP connection underneath.
    pub fn tcp(&self) -> &TcpStream {
        &self.io
    }

    /// Whether the peer has said that it sends no more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Opens the next whole record among the bytes received; the range is in [`Self::received`].
    ///
    /// # Errors
    /// A record that is not this connection's, or an alert.
    pub fn next_record(&mut self) -> Result<Option<Range<usize>>, RecordError> {
        while !self.closed {
            let pending = &mut self.rx[self.rx_opened..self.rx_filled];
            let Some(len) = record_len(pending)?.filter(|len| *len <= pending.len()) else {
                return Ok(None);
            };
            let start = self.rx_opened + HEADER;
            let opened = self.keys.open(&mut pending[..len])?;
            self.rx_opened += len;
            match opened {
                Opened::Data(0) | Opened::Control => {}
                Opened::Data(len) => return Ok(Some(start..start + len)),
                Opened::Closed => self.closed = true,
            }
        }
        Ok(None)
    }

    /// The receive buffer, for the ranges of [`Self::next_record`]; they hold until [`Self::poll_receive`].
    pub fn received(&self) -> &[u8] {
        &self.rx
    }

    /// Receives more; forgets the records that were opened. 0 is the end of the connection.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.rx[self.rx_filled..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        let (read, full) = (room.filled().len(), room.remaining() == 0);
        if read == 0
            && let Some(why) = self.ended.as_ref().and_then(Ended::why)
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        self.rx_filled += read;
        if full && self.rx.len() < RX_MOST {
            self.rx.resize((self.rx.len() * 2).min(RX_MOST), 0);
        }
        Poll::Ready(Ok(read))
    }

    fn make_room(&mut self) {
        self.rx.copy_within(self.rx_opened..self.rx_filled, 0);
        self.rx_filled -= self.rx_opened;
        self.rx_opened = 0;
        let wanted = match record_len(&self.rx[..self.rx_filled]) {
            Ok(Some(len)) => len.max(RX_FIRST),
            _ => RX_FIRST,
        };
        if self.rx.len() < wanted.max(self.rx_filled + HEADER) {
            self.rx.resize(wanted.max(self.rx_filled + RX_FIRST), 0);
        }
    }

    /// Whether so much waits to be sent that the producer must wait.
    pub fn is_backed_up(&self) -> bool {
        self.tx_sealed - self.tx_sent >= TX_HIGH
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.tx_sent < self.tx_sealed
    }

    /// Room for the plaintext of one full record, to be sealed where it stands by [`Self::seal`].
    pub fn vacant(&mut self) -> &mut [u8] {
        if self.tx_sent == self.tx_sealed {
            self.tx_sent = 0;
            self.tx_sealed = 0;
        }
        if self.tx_sent >= STRIDE {
            self.tx.copy_within(self.tx_sent..self.tx_sealed, 0);
            self.tx_sealed -= self.tx_sent;
            self.tx_sent = 0;
        }
        let end = self.tx_sealed + STRIDE + KEY_UPDATE_RECORD;
        if self.tx.len() < end {
            self.tx.resize(end, 0);
        }
        let start = self.tx_sealed + HEADER;
        &mut self.tx[start..start + MAX_PLAINTEXT]
    }

    /// Seals the first `len` bytes of [`Self::vacant`] as one record.
    ///
    /// # Errors
    /// [`RecordError`]; the connection must end.
    pub fn seal(&mut self, len: usize) -> Result<(), RecordError> {
        let written = self.keys.tx.seal(&mut self.tx[self.tx_sealed..], len, Content::Data)?;
        self.tx_sealed += written;
        if self.keys.must_update() {
            self.tx_sealed += self.keys.update(&mut self.tx[self.tx_sealed..])?;
        }
        Ok(())
    }

    /// Sends what is sealed.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tx_sent < self.tx_sealed {
            let unsent = &self.tx[self.tx_sent..self.tx_sealed];
            match ready!(Pin::new(&mut self.io).poll_write(cx, unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.tx_sent += sent,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives back what grew, for a session that waits in a pool.
    pub fn shrink(&mut self) {
        if self.rx_filled == self.rx_opened && self.rx.len() > RX_FIRST {
            (self.rx, self.rx_filled, self.rx_opened) = (Vec::new(), 0, 0);
        }
        if !self.has_unsent() && self.tx.len() > STRIDE + KEY_UPDATE_RECORD {
            (self.tx, self.tx_sent, self.tx_sealed) = (Vec::new(), 0, 0);
        }
    }

    /// Whether an idle connection is still good: nothing came, not even its end.
    pub fn is_quiet(&self) -> bool {
        let pending = self.rx_filled > self.rx_opened;
        let nothing_came =
            matches!(self.io.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        !pending && !self.closed && nothing_came
    }

    fn seal_close_notify(&mut self) -> Result<(), RecordError> {
        self.vacant()[..2].copy_from_slice(&[1, 0]);
        self.tx_sealed += self.keys.tx.seal(&mut self.tx[self.tx_sealed..], 2, Content::Alert)?;
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            match this.next_record().map_err(io::Error::other)? {
                Some(range) => this.unread = range,
                None if this.closed => return Poll::Ready(Ok(())),
                None => match ready!(this.poll_receive(cx))? {
                    // RFC 8446 section 6.1: an end without close_notify is a truncation.
                    0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    _ => continue,
                },
            }
        }
        let len = this.unread.len().min(out.remaining());
        out.put_slice(&this.rx[this.unread.start..this.unread.start + len]);
        this.unread.start += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_backed_up() {
            ready!(self.poll_send(cx))?;
        }
        let len = bytes.len().min(MAX_PLAINTEXT);
        if len > 0 {
            self.vacant()[..len].copy_from_slice(&bytes[..len]);
            self.seal(len).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.seal_close_notify().map_err(io::Error::other)?;
            self.closing = true;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
