//! HBONE as Istio's ztunnel speaks it: HTTP/2 CONNECT inside an mTLS session, port 15008.
//!
//! Generic over the established TLS stream; sockets, certificates and policy are the caller's.

mod baggage;
mod header;
mod keepalive;
mod pool;
mod refusal;
mod server;
mod session;
mod stream;

pub use baggage::{Baggage, WorkloadKind};
pub use header::{Connect, InvalidConnect, Target};
pub use keepalive::PeerSilent;
pub use pool::{Dialled, OpenError, Pool, PoolKey};
pub use refusal::Refusal;
pub use server::{Incoming, Respond, ServeError, serve};
pub use stream::{ReadHalf, Stream, WriteHalf};

#[cfg(test)]
mod tests;

/// The port of a pod where HBONE is spoken.
pub const PORT: u16 = 15008;

use std::time::Duration;

/// What a stream's sender may have under way: ztunnel's, enough for 3 Gbit/s over 10 ms.
const STREAM_WINDOW: u32 = 4 << 20;
/// What all streams of a session may have under way together: ztunnel's.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest frame accepted: ztunnel's. Fewer, larger frames cost less.
const FRAME: u32 = 1 << 20;
/// Bytes of one stream that wait for the connection; then its writer waits.
const SEND_BUFFER: usize = 1 << 20;
/// Streams a client may have open in one session: ztunnel advertises the same.
const SERVER_STREAMS: u32 = 200;
/// Streams this side opens in one session: `POOL_MAX_STREAMS_PER_CONNECTION` of ztunnel.
const CLIENT_STREAMS: usize = 100;
/// Header bytes accepted in a request; a CONNECT of this mesh has about 500. Beyond it h2 answers 431.
const REQUEST_HEADERS: u32 = 64 << 10;
/// Header bytes accepted in a response.
const RESPONSE_HEADERS: u32 = 16 << 10;
/// What unread small DATA frames may cost before h2 calls it abuse: 256 bytes less the payload each.
/// Its default (8 MiB for this window) ends a whole session when one slow reader has 64-byte
/// messages filling its stream's window; ztunnel switches the limit off, this keeps memory bounded.
const SMALL_FRAMES: usize = 64 << 20;
/// How long the peer may take for its half of the HTTP/2 preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
