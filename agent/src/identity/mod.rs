//! Who the pods of this node are, and who their peers prove to be.
//!
//! `Authority` signs, `Store` keeps what it signed fresh, `Trust` judges what peers show.

pub mod authority;
pub mod issue;
pub mod peer;
pub mod renew;
pub mod store;
pub mod tls;
pub mod verify;

pub use authority::{Authority, AuthorityError};
pub use issue::{Identity, IssueError, Validity};
pub use peer::{PeerError, VerifiedPeer, WrongPeer};
pub use store::{Store, StoreOptions};
pub use verify::Trust;

/// ALPN of the protocol between two Underpass agents.
pub const ALPN_UNDERPASS: &[u8] = b"underpass/1";
/// ALPN of HBONE: HTTP/2, as Istio's ztunnel offers it.
pub const ALPN_HBONE: &[u8] = b"h2";

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod authority_tests;
