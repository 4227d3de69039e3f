//! A byte stream to an application, by any hop.

use crate::relay::http::through::Through;
use crate::tunnel::hbone;
use crate::tunnel::underpass::SessionStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A byte stream to an application, by any hop.
pub enum Io {
    /// `underpass/1`.
    Session(Box<SessionStream>),
    /// To this agent's own end of it, which sees the requests.
    Inner(DuplexStream),
    /// Straight.
    Tcp(TcpStream),
    /// HBONE.
    Hbone(hbone::Stream),
    /// TLS that a rule asks for, inside any of these.
    Tls(Box<TlsStream<Io>>),
    /// Through a proxy.
    Through(Box<dyn Through>),
}

impl Io {
    /// Whether other streams travel on the same connection.
    pub fn shares(&self) -> bool {
        matches!(self, Self::Session(stream) if stream.shares())
    }
}

/// Calls a method of whichever stream it is.
macro_rules! each {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match &mut *$self {
            Io::Session(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Io::Inner(stream) => Pin::new(stream).$method($($argument),*),
            Io::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Io::Hbone(stream) => Pin::new(stream).$method($($argument),*),
            Io::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
            Io::Through(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_read, cx, out)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self, Self::Hbone(_) | Self::Tls(_) | Self::Inner(_) | Self::Through(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_shutdown, cx)
    }
}
