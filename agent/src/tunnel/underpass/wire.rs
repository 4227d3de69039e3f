//! What carries a session: a TLS connection of its own, or a lane of a shared one.

use super::super::tls::{RecordError, TlsInfo, TlsStream};
use super::trunk::Lane;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// See the module. The methods are those of [`TlsStream`].
#[expect(clippy::large_enum_variant, reason = "the larger one carries bytes: another pointer on their way costs more")]
pub(super) enum Wire {
    Own(TlsStream),
    Lane(Lane),
}

macro_rules! each {
    ($self:ident, $wire:ident => $what:expr) => {
        match $self {
            Wire::Own($wire) => $what,
            Wire::Lane($wire) => $what,
        }
    };
}

impl Wire {
    pub(super) fn info(&self) -> &TlsInfo {
        each!(self, wire => wire.info())
    }

    /// The TCP connection underneath, if nobody else uses it.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Own(tls) => Some(tls.tcp()),
            Self::Lane(_) => None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        each!(self, wire => wire.is_closed())
    }

    pub(super) fn next_record(&mut self) -> Result<Option<Range<usize>>, RecordError> {
        match self {
            Self::Own(tls) => tls.next_record(),
            Self::Lane(lane) => Ok(lane.next_record()),
        }
    }

    pub(super) fn received(&self) -> &[u8] {
        each!(self, wire => wire.received())
    }

    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        each!(self, wire => wire.poll_receive(cx))
    }

    pub(super) fn is_backed_up(&self) -> bool {
        each!(self, wire => wire.is_backed_up())
    }

    pub(super) fn has_unsent(&self) -> bool {
        each!(self, wire => wire.has_unsent())
    }

    pub(super) fn vacant(&mut self) -> &mut [u8] {
        each!(self, wire => wire.vacant())
    }

    pub(super) fn seal(&mut self, len: usize) -> Result<(), RecordError> {
        match self {
            Self::Own(tls) => tls.seal(len),
            Self::Lane(lane) => {
                lane.seal(len);
                Ok(())
            }
        }
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, wire => wire.poll_send(cx))
    }

    /// For the pool of sessions. A lane is not kept: a new one costs nothing.
    pub(super) fn shrink(&mut self) {
        if let Self::Own(tls) = self {
            tls.shrink();
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Self::Own(tls) if tls.is_quiet())
    }
}
