//! Why a tunnel is refused, as its status code.

use http::StatusCode;
use thiserror::Error;

/// The answer instead of 200, ztunnel's codes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 400: no CONNECT, no target, or a target that is not this pod.
    #[error("bad request (400)")]
    BadRequest,
    /// 401: the peer's identity, or the policy for it.
    #[error("not allowed (401)")]
    Denied,
    /// 503: the application did not take the connection.
    #[error("the destination could not be reached (503)")]
    Unreachable,
    /// A code that ztunnel does not use, from some other peer.
    #[error("refused with status {0}")]
    Other(u16),
}

impl Refusal {
    /// The code on the wire.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::UNAUTHORIZED,
            Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Other(code) => StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    pub(super) fn of(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::OK => None,
            StatusCode::BAD_REQUEST => Some(Self::BadRequest),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Self::Denied),
            StatusCode::SERVICE_UNAVAILABLE => Some(Self::Unreachable),
            other => Some(Self::Other(other.as_u16())),
        }
    }
}
