//! Whether traffic may go where it wants. A passed check is a value: [`Permit`].

pub mod authorize;
pub mod table;

#[cfg(test)]
mod tests;

pub use authorize::{Denied, Peer, Permit, Reason, authorize_inbound, authorize_outbound};
pub use table::PolicyTable;
