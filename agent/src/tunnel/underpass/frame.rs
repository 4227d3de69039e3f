//! The frames of `underpass/1`: a type, three bytes of length (big endian), the payload.
//!
//! | type | from | payload |
//! | --- | --- | --- |
//! | 1 OPEN | client | destination and source: 16 bytes of address (IPv4 mapped), 2 of port, each; then a byte of flags: 1 asks for ACCEPTED |
//! | 2 DATA | both | the application's bytes |
//! | 3 END | both | none: this direction is at its end |
//! | 4 REFUSED | server | a code and a text: the application was not reached, nothing was delivered |
//! | 5 REPORT | client | a request that the client's agent routed, see `report` |
//! | 6 FAREWELL | server | none: no further OPEN, please; one that crosses it is still served |
//! | 8 ACCEPTED | server | none: the application took the connection |
//! | 7 RESET | both | none: the application's connection broke; the session ends |
//!
//! A connection begins with OPEN and is over when both have sent END; then the session may carry the next. Data may
//! follow OPEN at once; ACCEPTED is for those who must know before they send.

use super::super::tls::MAX_PLAINTEXT;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// Bytes of a frame's header.
pub const HEADER: usize = 4;
/// Most bytes of DATA in one frame: then header and payload fill one TLS record.
pub const MAX_DATA: usize = MAX_PLAINTEXT - HEADER;
/// Most bytes of any other frame: whoever announces more is no agent of ours.
pub const MAX_CONTROL: usize = 4096;

/// A frame's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection begins.
    Open,
    /// Application bytes.
    Data,
    /// This direction is at its end.
    End,
    /// The connection could not be made.
    Refused,
    /// A request that was routed.
    Report,
    /// No further connections.
    Farewell,
    /// The application's connection broke.
    Reset,
    /// The application took the connection.
    Accepted,
}

/// The peer does not speak `underpass/1`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// A type that does not exist.
    #[error("unknown frame type {0}")]
    Unknown(u8),
    /// Longer than its type allows.
    #[error("{0:?} frame of {1} bytes is over the limit")]
    TooLong(Kind, usize),
    /// The payload is not what its type asks for.
    #[error("malformed {0:?} frame")]
    Malformed(Kind),
    /// Out of place, such as DATA before OPEN.
    #[error("unexpected {0:?} frame")]
    Unexpected(Kind),
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Data => 2,
            Self::End => 3,
            Self::Refused => 4,
            Self::Report => 5,
            Self::Farewell => 6,
            Self::Reset => 7,
            Self::Accepted => 8,
        }
    }

    fn from_code(code: u8) -> Result<Self, FrameError> {
        Ok(match code {
            1 => Self::Open,
            2 => Self::Data,
            3 => Self::End,
            4 => Self::Refused,
            5 => Self::Report,
            6 => Self::Farewell,
            7 => Self::Reset,
            8 => Self::Accepted,
            _ => return Err(FrameError::Unknown(code)),
        })
    }
}

/// Writes a header.
pub fn encode_header(kind: Kind, len: usize) -> [u8; HEADER] {
    [kind.code(), (len >> 16) as u8, (len >> 8) as u8, len as u8]
}

/// Reads a header.
///
/// # Errors
/// [`FrameError`] for an unknown type or a length over its limit.
pub fn decode_header(header: [u8; HEADER]) -> Result<(Kind, usize), FrameError> {
    let kind = Kind::from_code(header[0])?;
    let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if kind != Kind::Data && len > MAX_CONTROL {
        return Err(FrameError::TooLong(kind, len));
    }
    Ok((kind, len))
}

/// The start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The application's address on its pod.
    pub destination: SocketAddr,
    /// The client application's address.
    pub source: SocketAddr,
    /// Whether the client waits for ACCEPTED.
    pub confirm: bool,
}

impl Open {
    /// Bytes of the payload.
    pub const LEN: usize = 37;

    /// The payload.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut payload = [0; Self::LEN];
        for (half, address) in payload.chunks_exact_mut(18).zip([self.destination, self.source]) {
            let ip = match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            half[..16].copy_from_slice(&ip.octets());
            half[16..].copy_from_slice(&address.port().to_be_bytes());
        }
        payload[36] = u8::from(self.confirm);
        payload
    }

    /// Reads the payload; whatever follows the fields known here is for a later version.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when it is too short.
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let address = |at: usize| {
            let ip: [u8; 16] = payload.get(at..at + 16)?.try_into().ok()?;
            let port: [u8; 2] = payload.get(at + 16..at + 18)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), u16::from_be_bytes(port)))
        };
        let (Some(destination), Some(source)) = (address(0), address(18)) else {
            return Err(FrameError::Malformed(Kind::Open));
        };
        let confirm = payload.get(36).is_some_and(|flags| flags & 1 == 1);
        Ok(Self { destination, source, confirm })
    }
}

/// Why the server's agent did not connect to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// The address is not the pod that the session leads to.
    NotThisPod,
    /// Policy forbids it.
    Denied,
    /// The application did not take the connection: another endpoint may be tried.
    Unreachable,
}

impl RefusalCode {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::NotThisPod => 1,
            Self::Denied => 2,
            Self::Unreachable => 3,
        }
    }

    pub(super) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::NotThisPod,
            2 => Self::Denied,
            _ => Self::Unreachable,
        }
    }
}
