//! Whether traffic may go where it wants. A passed check is a value: [`Permit`].

pub mod authorize;
mod decide;
mod egress;
pub mod facts;
pub mod layer;
pub mod matcher;
pub mod table;
mod texts;
mod why;

#[cfg(test)]
mod tests;

pub use authorize::{
    Asked, Beyond, Decision, Denied, Peer, Permit, Reason, Report, Told, Verdict, authorize_inbound, authorize_opaque,
    authorize_outbound, authorize_request,
};
pub use facts::{Connection, Request, Token};
pub use layer::{Layer, Layers, Selected};
pub use matcher::Compiled;
pub use table::PolicyTable;
pub use why::{PolicyWhy, RuleWhy, why};
