//! Words every stage may use: small types, no logic, no I/O.

pub mod addr;
pub mod alpn;
pub mod name;
pub mod path;
pub mod shard;
pub mod spiffe;
pub mod stage;
pub mod traffic;

pub use addr::{LocalAddr, OrigDst, PeerAddr};
pub use alpn::Alpn;
pub use name::{
    ClusterName, Hostname, Namespace, NetworkName, NodeName, PodId, ServiceAccount, SubsetName, WorkloadId,
};
pub use path::{NulInPath, normalised};
pub use shard::own_shard;
pub use spiffe::{SpiffeId, TrustDomain};
pub use stage::{Direction, Stage};
pub use traffic::Traffic;
