//! `underpass/1`: one application connection at a time on a warm TLS session, on the application's own port.
//!
//! HTTP/2 between the agents costs a third of the throughput (kernel-facts.md), and a handshake per connection costs
//! what short connections have. So a session carries connections one after the other, in small frames, and waits in a
//! pool between them. Where many requests are under way between the same two workloads, their sessions share a TLS
//! connection: see [`trunk`].

mod carry;
mod frame;
mod pool;
mod report;
mod session;
mod stream;
mod trunk;
mod wire;

pub use carry::{CarryError, Role};
pub use frame::{FrameError, Kind, MAX_DATA, Open, RefusalCode, decode_header, encode_header};
pub use pool::{Pool, PoolKey};
pub use report::Report;
pub use session::{Session, SessionError};
pub use stream::{ReportSink, Reports, SessionStream};
pub use trunk::encode as encode_lane;
pub use trunk::{Attempt, Deframer, Lane, LaneFrame, Own, Trunk, TrunkError, Trunks, drive};

/// How long the server keeps an idle session.
pub const SERVER_IDLE: std::time::Duration = std::time::Duration::from_secs(90);

#[cfg(test)]
mod tests;
