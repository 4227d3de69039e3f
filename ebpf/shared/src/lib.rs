//! The contract between the agent and its eBPF programs: what lies in the maps, and what is decided from it.
#![cfg_attr(not(test), no_std)]

pub mod address;
pub mod decide;
pub mod limits;
pub mod records;
#[cfg(feature = "user")]
mod netns;
#[cfg(feature = "user")]
mod user;

pub use address::Address;
#[cfg(feature = "user")]
pub use netns::netns_cookie;
pub use records::{Enrolled, Flow, FlowKey, Settings, SocketMemory, SocketRole, Trusted, Tuple};
