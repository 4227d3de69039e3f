//! An authenticated stream to the peer: HBONE as Istio speaks it, or `underpass/1`.

pub mod hbone;
pub mod tls;
pub mod underpass;
