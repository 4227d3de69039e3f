//! The decision per request.

use super::matching::http_rule;
use super::{Binding, Refusal, ServiceRef, Upstream};
use crate::model::Workload;
use fastrand::Rng;
use http::request::Parts;
use std::sync::Arc;

/// The HTTP rules in force for one client and one service port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpTable {
    pub(super) service: Arc<ServiceRef>,
    pub(super) binding: Arc<Binding>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct HttpChoice {
    /// The chosen destination; it has at least one ready endpoint.
    pub upstream: Arc<Upstream>,
    /// The name of the rule that took it, where it has one.
    pub rule: Option<Arc<str>>,
}

impl HttpTable {
    /// The service port that the client used.
    pub fn service(&self) -> &Arc<ServiceRef> {
        &self.service
    }

    /// The destination of a request: the first rule that takes it, then one of its destinations by weight.
    ///
    /// # Errors
    /// No rule takes it, or the one that does leads nowhere; [`Refusal::status`] is the answer.
    pub fn decide(&self, source: &Workload, request: &Parts, rng: &mut Rng) -> Result<HttpChoice, Refusal> {
        let rules = self.binding.rules.http.iter().zip(&self.binding.http);
        let mut taking = rules.filter(|(rule, _)| http_rule(rule, source, self.service.port, request));
        let Some((rule, action)) = taking.next() else {
            return Err(Refusal::NoRoute { service: Arc::clone(&self.service) });
        };
        let upstream = action.choose(&source.id.pod.namespace, &self.service, rng)?;
        Ok(HttpChoice { upstream, rule: rule.name.clone() })
    }
}
