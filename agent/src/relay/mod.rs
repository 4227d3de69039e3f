//! Moving what goes through: bytes, or requests.

pub mod http;
pub mod tcp;
