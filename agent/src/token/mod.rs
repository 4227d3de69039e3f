//! Who a request says it is for: JSON Web Tokens, verified as Envoy does it for Istio.
//!
//! Keys come as JSON Web Key Sets. Only asymmetric algorithms are taken, and a key only signs with those of its own
//! kind: what an attacker writes into a token's header never chooses how a key is used.

mod claims;
mod keys;
mod locate;
mod verify;

pub use claims::{Claims, outputs};
pub use keys::{Keys, KeysError};
pub use locate::{found, take};
pub use verify::{TokenError, issuer, verify};

#[cfg(test)]
mod tests;
