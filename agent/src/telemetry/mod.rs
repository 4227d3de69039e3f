//! What happened: one record per connection, closed exactly once; metrics with Istio's names; the access log.
//!
//! `Telemetry::open` begins a record, `Open::close` ends it. The rest of the agent sees the types exported here.

mod access;
mod access_line;
mod agent;
mod edge;
mod edges;
mod exposition;
mod histogram;
mod live;
mod logging;
mod open;
mod process;
mod record;
mod recorder;
mod scrape;
mod upstreams;

pub use access::AccessLog;
pub use agent::{Agent, SessionOpen, Sessions};
pub use exposition::{CONTENT_TYPE, Kind, Labels, Page};
pub use live::ConnectionRow;
#[cfg(test)]
pub(crate) use logging::build;
pub use logging::{LogControl, LogFormat, LoggingError, install};
pub use open::Open;
pub use record::{Outcome, Party, Protocol, RequestRecord, Security, ServiceRef, Target, Tls, Tunnel};
pub use recorder::{Config, Telemetry};
pub use scrape::Pieces;

#[cfg(test)]
mod tests;
