//! The decision per request.

use super::matching::http_rule;
use super::ruling::{Forward, Ruling, Taken, Verdict};
use super::{Binding, Refusal, ServiceRef, Upstream};
use crate::model::Workload;
use fastrand::Rng;
use http::request::Parts;
use std::sync::Arc;

/// The HTTP rules in force for one client and one service port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpTable {
    pub(super) whole: Arc<Upstream>,
    /// None where no rule has a say: requests go to the service itself.
    pub(super) binding: Option<Arc<Binding>>,
}

impl HttpTable {
    /// The service port that the client used.
    pub fn service(&self) -> &Arc<ServiceRef> {
        &self.whole.service
    }

    /// What is done with a request: the first rule that takes it decides, then one of its destinations by weight.
    ///
    /// # Errors
    /// No rule takes it, or the one that does leads nowhere; [`Refusal::status`] is the answer.
    pub fn decide(&self, source: &Workload, request: &Parts, rng: &mut Rng) -> Result<Ruling, Refusal> {
        let Some(binding) = &self.binding else {
            return forward(Forward::plain(Arc::clone(&self.whole)));
        };
        let rules = &binding.rules.http;
        let service = self.service();
        let Some(rule) = rules.iter().position(|rule| http_rule(rule, source, service.port, request)) else {
            return Err(Refusal::NoRoute { service: Arc::clone(service) });
        };
        let upstream = binding.http[rule].choose(source, service, rng)?;
        forward(Forward { upstream, taken: Some(Taken { binding: Arc::clone(binding), rule }) })
    }
}

fn forward(forward: Forward) -> Result<Ruling, Refusal> {
    if forward.upstream.group.is_empty() {
        return Err(Refusal::NoHealthyEndpoints { upstream: forward.upstream });
    }
    Ok(Ruling { delay: None, verdict: Verdict::Forward(forward) })
}
