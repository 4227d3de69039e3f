//! From the address that the application used to where the traffic may go.

pub mod attached;
pub mod backends;
pub mod binding;
pub mod frontend;
pub mod host;
pub mod http;
pub mod matching;
mod precedence;
pub mod refusal;
pub mod resolve;
pub mod retry;
pub mod ruling;
pub mod upstream;

#[cfg(test)]
mod tests;

pub use self::http::HttpTable;
pub use attached::Attached;
pub use backends::Backends;
pub use binding::Binding;
pub use frontend::Frontend;
pub use refusal::Refusal;
pub use resolve::{Plan, Pod, RouteTable, resolve};
pub use ruling::{Answer, Forward, Ruling, Verdict};
pub use upstream::{ServiceRef, Upstream};
