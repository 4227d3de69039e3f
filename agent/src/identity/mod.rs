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

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod authority_tests;
#[cfg(test)]
mod bundle_tests;
