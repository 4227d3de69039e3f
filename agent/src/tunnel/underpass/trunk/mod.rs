//! Many sessions on one TLS connection. What their tasks write in one turn of the event loop leaves in one packet: a
//! small exchange costs as much in sends as in everything else (kernel-facts.md), and here several share each.
//!
//! Each session has a lane with credit of its own, so that an application that does not read holds up nobody else. The
//! first sessions between two workloads have connections of their own: see [`Trunks`].

mod drive;
mod frame;
mod lane;
mod pool;
mod shared;

pub use drive::drive;
pub use frame::{Deframer, LaneFrame, TrunkError, encode};
pub use lane::Lane;
pub use pool::{Attempt, Own, Trunks};
pub use shared::Trunk;

/// Bytes that may be under way on one lane and not yet read by its session. At 1 ms of round trip that is 2 Gbit/s.
pub const WINDOW: usize = 256 * 1024;
/// Lanes that a client opens on one trunk: enough to fill packets, and one task sends for all of them.
const MOST_LANES: usize = 64;
/// Lanes that a server lets a client have on one trunk: what they may fill is memory of this node.
const MOST_TAKEN: usize = 2 * MOST_LANES;

#[cfg(test)]
mod tests;
