//! Why traffic goes nowhere: the text for the log, the flag for metrics, the status for HTTP clients.

use super::{ServiceRef, Upstream};
use crate::vocab::Hostname;
use http::StatusCode;
use std::sync::Arc;
use thiserror::Error;

/// Why a connection or request is refused.
#[derive(Clone, Debug, Error)]
pub enum Refusal {
    /// The address is a service's, the port is not.
    #[error("{host} has no port {port}")]
    NoSuchPort {
        /// The service.
        host: Hostname,
        /// The port that the client used.
        port: u16,
    },
    /// None of the HTTP rules in force takes the request.
    #[error("no HTTP rule for {} takes this request", service.host)]
    NoRoute {
        /// The service that the client used.
        service: Arc<ServiceRef>,
    },
    /// The port has rules for TLS, and none of them takes the connection.
    #[error("no TLS rule for {} takes this connection: {what}", service.host)]
    NoTlsRule {
        /// The service that the client used.
        service: Arc<ServiceRef>,
        /// The name that it asks for, or why there is none.
        what: Arc<str>,
    },
    /// The rule that takes the traffic cannot be applied as written.
    #[error("{rule}: {why}")]
    Broken {
        /// The service that the client used.
        service: Arc<ServiceRef>,
        /// Which rule.
        rule: Arc<str>,
        /// What is wrong with it.
        why: Arc<str>,
    },
    /// The rule that takes the traffic names a host, port or subset that is not there.
    #[error("{rule}: there is no {destination}")]
    Missing {
        /// The service that the client used.
        service: Arc<ServiceRef>,
        /// Which rule.
        rule: Arc<str>,
        /// What it names.
        destination: Arc<str>,
    },
    /// The service, or the subset, has no endpoint that is ready.
    #[error("no endpoint of {}:{} is ready", upstream.service.host, upstream.service.port)]
    NoHealthyEndpoints {
        /// What was chosen.
        upstream: Arc<Upstream>,
    },
}

impl Refusal {
    /// Envoy's response flag for it; `BR` (broken rule) is ours, Envoy has none.
    pub fn flag(&self) -> &'static str {
        match self {
            Self::NoSuchPort { .. } | Self::NoRoute { .. } | Self::NoTlsRule { .. } => "NR",
            Self::Broken { .. } => "BR",
            Self::Missing { .. } => "NC",
            Self::NoHealthyEndpoints { .. } => "UH",
        }
    }

    /// What an HTTP client is answered, as Envoy does under Istio: NR 404, NC and UH 503.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPort { .. } | Self::NoRoute { .. } | Self::NoTlsRule { .. } => StatusCode::NOT_FOUND,
            Self::Broken { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Missing { .. } | Self::NoHealthyEndpoints { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The service port that it is about, for metrics; none where the service has no such port.
    pub fn service(&self) -> Option<&Arc<ServiceRef>> {
        match self {
            Self::NoSuchPort { .. } => None,
            Self::NoRoute { service }
            | Self::NoTlsRule { service, .. }
            | Self::Broken { service, .. }
            | Self::Missing { service, .. } => Some(service),
            Self::NoHealthyEndpoints { upstream } => Some(&upstream.service),
        }
    }
}
