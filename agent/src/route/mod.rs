//! From the address that the application used to where the traffic may go.

pub mod affinity;
pub mod attached;
mod action;
pub mod answer;
pub mod backends;
pub mod binding;
mod case;
pub mod cors;
pub mod edits;
pub mod frontend;
pub mod governing;
pub mod host;
pub mod http;
pub mod index;
pub mod matching;
mod precedence;
pub mod path;
pub mod query;
pub mod redirect;
pub mod refusal;
pub mod resolve;
pub mod retry;
pub mod ruling;
mod target;
mod treatment;
pub mod undecided;
pub mod upstream;

#[cfg(test)]
mod tests;

pub use self::http::HttpTable;
pub use affinity::Affinity;
pub use answer::Answer;
pub use attached::Attached;
pub use backends::Backends;
pub use binding::Binding;
pub use frontend::Frontend;
pub use refusal::Refusal;
pub use resolve::{Plan, Pod, RouteTable, resolve};
pub use ruling::{Forward, Ruling, Verdict};
pub use undecided::{Spoken, Undecided};
pub use upstream::{ServiceRef, Upstream};
