//! Requests: each one routed by itself, sent over pooled connections to the application.
//!
//! A captured connection speaks HTTP/1.x or HTTP/2 (prior knowledge); the first bytes tell. Each request asks
//! [`Upstreams`] where to go, so a change of configuration needs no new connection. Upstream the same protocol is
//! spoken through an opaque tunnel. Plain HTTP/1.1 exchanges are carried by `plain`, all others by hyper. HTTP/1
//! connections carry one request at a time and are driven by the very task that serves the client: no second task, no
//! wake-up between threads. HTTP/2 sessions are shared.

mod answer;
pub mod ask;
mod attempts;
mod body;
mod carrier;
mod clock;
mod copied;
mod deadline;
mod detect;
mod dial;
mod dialect;
mod drain;
mod exchange;
mod first;
mod hops;
mod inline;
mod kept;
mod line;
mod mirror;
mod outcome;
mod plain;
mod pool;
mod record;
mod response;
mod second;
mod sentry;
mod serve;
mod session;
mod tapped;
pub mod through;
mod upgrade;
mod upstreams;
mod watch;

pub use dialect::Speaks;
pub use outcome::{Protocol, RequestOutcome};
pub use pool::Pool;
pub use serve::{Limits, ServeError, serve};
pub use upstreams::{DialError, Dialed, Refused, Ruling, Settled, Shapes, Terms, Upstreams, Verdict, Wear};

#[cfg(test)]
mod tests;
