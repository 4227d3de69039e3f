//! Who the pods of this node are, and who their peers prove to be.
//!
//! Certificates come from an `Origin`: an `Authority` that signs here, or a `Remote` one that is asked. `Store` keeps
//! them fresh, `Trust` judges what peers show.

pub mod authority;
pub mod bundle;
pub mod files;
pub mod issue;
mod origin;
pub mod peer;
pub mod protocol;
pub mod remote;
pub mod renew;
pub mod report;
pub mod store;
pub mod tls;
pub mod verify;
pub mod voluntary;

pub use authority::{Authority, AuthorityError};
pub use bundle::{CrlFile, Federated, TrustOptions};
pub use files::FileError;
pub use issue::{Identity, IssueError, Validity};
pub use origin::OriginOptions;
pub use peer::{PeerError, VerifiedPeer, WrongPeer};
pub use remote::RemoteOptions;
pub use store::{Store, StoreError, StoreOptions};
pub use verify::Trust;

/// ALPN of the protocol between two Underpass agents.
pub const ALPN_UNDERPASS: &[u8] = b"underpass/1";
/// ALPN of many sessions of it on one connection.
pub const ALPN_LANES: &[u8] = b"underpass/1+lanes";
/// ALPN of HBONE: HTTP/2, as Istio's ztunnel offers it.
pub const ALPN_HBONE: &[u8] = b"h2";

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod authority_tests;
#[cfg(test)]
mod bundle_tests;
