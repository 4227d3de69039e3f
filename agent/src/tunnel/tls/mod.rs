//! TLS 1.3 on the tunnel: rustls shakes hands and derives keys; the records are sealed and opened in place.
//!
//! rustls' own record layer copies each record twice and allocates for it. After the handshake its keys are taken over
//! (`dangerous_into_kernel_connection`, made for kernel TLS, which this project may not assume: it is a kernel
//! option), and records are encrypted where the application's bytes were read and decrypted where the peer's were.

mod handshake;
mod keys;
mod live;
mod record;
mod stream;

pub use handshake::{HandshakeError, accept, connect, offered_alpn};
pub use live::Live;
pub use record::{Content, MAX_PLAINTEXT, RecordError, RecordKey, record_len};
pub use record::{HEADER as RECORD_HEADER, TRAILER as RECORD_TRAILER};
pub use stream::{TlsInfo, TlsStream};

#[cfg(test)]
pub(crate) mod tests;
