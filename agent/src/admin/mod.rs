//! What an operator can ask a running agent, and the commands that ask.
//!
//! Three listeners, so that each can be reached by those who need it and nobody else: the admin one is on loopback,
//! metrics are for Prometheus, health is for the kubelet. What they answer comes from `Sources`, which `node` fills.

mod ask;
mod routes;
mod server;
mod table;

pub use ask::{AskError, Question, ask, explain, get, routes as ask_routes};
pub use routes::{Ready, Sources, Surface};
pub use server::{Server, ServerError, serve};

#[cfg(test)]
mod tests;
