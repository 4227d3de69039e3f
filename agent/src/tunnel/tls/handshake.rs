//! The handshake, by rustls' unbuffered API, so that bytes behind it stay ours.

use super::keys::{Keys, Schedule};
use super::record::{RecordError, record_len};
use super::stream::{TlsInfo, TlsStream};
use crate::vocab::Alpn;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of a handshake flight that are waited for: several certificates, and no way to fill memory.
const MAX_FLIGHT: usize = 64 * 1024;

/// Why no session came of it.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The connection broke or was closed.
    #[error("connection lost during the TLS handshake: {0}")]
    Io(#[from] io::Error),
    /// rustls refused, or the peer did: the text names certificate, alert or protocol.
    #[error("TLS handshake failed: {0}")]
    Tls(#[from] rustls::Error),
    /// The bytes are no TLS.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// More handshake than any honest peer sends.
    #[error("TLS handshake of more than {MAX_FLIGHT} bytes")]
    TooLong,
}

/// Shakes hands as the client. No server name is sent: names of tunnels are SPIFFE identities, checked by the caller.
///
/// # Errors
/// [`HandshakeError`].
pub async fn connect(io: TcpStream, config: Arc<ClientConfig>) -> Result<TlsStream, HandshakeError> {
    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
    let connection = UnbufferedClientConnection::new(config, nobody)?;
    shake(io, connection, Vec::new()).await
}

/// Shakes hands as the server; `read` is what was already read of the client's bytes.
///
/// # Errors
/// [`HandshakeError`].
pub async fn accept(io: TcpStream, config: Arc<ServerConfig>, read: Vec<u8>) -> Result<TlsStream, HandshakeError> {
    let connection = UnbufferedServerConnection::new(config)?;
    shake(io, connection, read).await
}

/// The protocols that a ClientHello offers: `None` while `read` may be the start of one, empty for anything else.
pub fn offered_alpn(read: &[u8]) -> Option<Vec<Vec<u8>>> {
    match read {
        [] => return None,
        [22, 3, ..] | [22] => {}
        _ => return Some(Vec::new()),
    }
    let mut acceptor = Acceptor::default();
    let mut rest = read;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Some(Vec::new());
        }
    }
    match acceptor.accept() {
        Ok(None) if read.len() < MAX_FLIGHT => None,
        Ok(Some(accepted)) => Some(accepted.client_hello().alpn().into_iter().flatten().map(<[u8]>::to_vec).collect()),
        Ok(None) | Err(_) => Some(Vec::new()),
    }
}

async fn shake<S: Side>(mut io: TcpStream, mut side: S, read: Vec<u8>) -> Result<TlsStream, HandshakeError> {
    let mut flight = Flight { incoming: read, shown: 0, outgoing: Vec::new() };
    loop {
        match flight.step(&mut side) {
            Ok(Step::More) => {}
            Ok(Step::Send) => flush(&mut io, &mut flight.outgoing).await?,
            Ok(Step::Read) => receive(&mut io, &mut flight.incoming).await?,
            Ok(Step::Done) => break,
            Err(error) => return Err(farewell(&mut io, &mut side, flight, error).await),
        }
    }
    let info = side.info();
    Ok(TlsStream::new(io, side.into_keys()?, info, flight.incoming))
}

enum Step {
    More,
    Send,
    Read,
    Done,
}

/// Bytes under way. rustls is shown one record more at a time, so that it never opens what follows the handshake.
struct Flight {
    incoming: Vec<u8>,
    shown: usize,
    outgoing: Vec<u8>,
}

impl Flight {
    fn step<S: Side>(&mut self, side: &mut S) -> Result<Step, HandshakeError> {
        let UnbufferedStatus { discard, state } = side.process(&mut self.incoming[..self.shown]);
        let next = match state? {
            ConnectionState::EncodeTlsData(mut data) => {
                let start = self.outgoing.len();
                if let Err(EncodeError::InsufficientSize(need)) = data.encode(&mut []) {
                    self.outgoing.resize(start + need.required_size, 0);
                    let _ = data.encode(&mut self.outgoing[start..]);
                }
                Step::More
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Send
            }
            ConnectionState::WriteTraffic(_) => Step::Done,
            ConnectionState::BlockedHandshake => Step::Read,
            _ => return Err(RecordError::Malformed.into()),
        };
        self.incoming.drain(..discard);
        self.shown -= discard;
        match next {
            Step::Read => self.show_more(),
            Step::Done if side.common().is_handshaking() => self.show_more(),
            next => Ok(next),
        }
    }

    fn show_more(&mut self) -> Result<Step, HandshakeError> {
        match record_len(&self.incoming[self.shown..])? {
            Some(len) if self.shown + len <= self.incoming.len() => {
                self.shown += len;
                Ok(Step::More)
            }
            _ => Ok(Step::Read),
        }
    }
}

async fn receive(io: &mut TcpStream, incoming: &mut Vec<u8>) -> Result<(), HandshakeError> {
    if incoming.len() > MAX_FLIGHT {
        return Err(HandshakeError::TooLong);
    }
    incoming.reserve(4096);
    match io.read_buf(incoming).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        _ => Ok(()),
    }
}

async fn flush(io: &mut TcpStream, outgoing: &mut Vec<u8>) -> Result<(), HandshakeError> {
    if !outgoing.is_empty() {
        io.write_all(outgoing).await?;
        outgoing.clear();
    }
    Ok(())
}

/// Sends the alert that says why, as far as there is one, and passes the reason on.
async fn farewell<S: Side>(
    io: &mut TcpStream,
    side: &mut S,
    mut flight: Flight,
    error: HandshakeError,
) -> HandshakeError {
    flight.shown = 0;
    // Only while something waits to be sent: asked to go on after an error, rustls 0.23 panics in its deframer.
    while side.common().wants_write() && matches!(flight.step(side), Ok(Step::More)) {}
    let _ = flush(io, &mut flight.outgoing).await;
    let _ = io.shutdown().await;
    error
}

/// What differs between the two ends.
trait Side {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn common(&self) -> &CommonState;
    fn into_keys(self) -> Result<Keys, HandshakeError>;

    fn info(&self) -> TlsInfo {
        let common = self.common();
        TlsInfo {
            alpn: common.alpn_protocol().and_then(Alpn::of),
            cipher: common.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
            group: common.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or("unknown"),
            peer_certificates: common.peer_certificates().map(Arc::from).unwrap_or_default(),
        }
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_keys(self) -> Result<Keys, HandshakeError> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok(Keys::new(secrets, Schedule::Client(Box::new(kernel)))?)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_keys(self) -> Result<Keys, HandshakeError> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok(Keys::new(secrets, Schedule::Server(Box::new(kernel)))?)
    }
}
