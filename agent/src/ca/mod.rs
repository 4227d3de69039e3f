//! `underpass ca`: signs certificates of a cluster's workloads for the agents of its nodes.
//!
//! It speaks `istio.v1.auth.IstioCertificateService`, so Istio's agents and ztunnels can ask it too. A question passes
//! three doors, each with its own refusal: who is the caller (`caller`), may it have that identity (`authorize`), is
//! the request in order (`request`). Then the `signer` signs.

mod api;
mod authorize;
mod caller;
mod desk;
mod listen;
mod metrics;
mod pods;
mod request;
mod review;
mod run;
mod signer;

pub use run::run;

#[cfg(test)]
mod desk_tests;
#[cfg(test)]
mod tests;
