//! An authenticated stream to the peer: HBONE as Istio speaks it, `underpass/1`, or TLS as a rule asks for it.

pub mod hbone;
pub mod origination;
pub mod tls;
pub mod underpass;
