//! Ending a connection so that its client sees a reset: what was cut must not look complete.

use crate::tunnel::hbone;
use crate::tunnel::underpass::SessionStream;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;

/// A stream from a client.
pub trait Cut {
    /// Breaks it off.
    fn cut(self);
}

impl Cut for TcpStream {
    fn cut(self) {
        crate::connection::reset(&self);
    }
}

impl Cut for SessionStream {
    fn cut(self) {
        self.reset();
    }
}

/// Dropped before both directions ended, it is reset.
impl Cut for hbone::Stream {
    fn cut(self) {}
}

/// Whoever holds the other end is told otherwise.
impl Cut for DuplexStream {
    fn cut(self) {}
}
