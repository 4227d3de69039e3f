//! The decision per request.

use super::case::Case;
use super::index::Entry;
use super::matching::{Asked, http_match};
use super::ruling::{Forward, Ruling, Verdict};
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

    /// What is done with a request: the first rule that takes it decides.
    ///
    /// # Errors
    /// No rule takes it, or the one that does leads nowhere; [`Refusal::status`] is the answer.
    pub fn decide(&self, source: &Workload, request: &Parts, rng: &mut Rng) -> Result<Ruling, Refusal> {
        let Some(binding) = &self.binding else { return self.unruled() };
        let used = self.service();
        let asked = Asked { source, port: used.port, request };
        let rules = &binding.rules.http;
        let holds = |entry: Entry| entry.of(rules).is_none_or(|one| http_match(one, &asked));
        let Some(entry) = binding.index.first(request.uri.path(), holds) else {
            return Err(Refusal::NoRoute { service: Arc::clone(used) });
        };
        Case { asked, used, binding, entry }.ruling(rng)
    }

    fn unruled(&self) -> Result<Ruling, Refusal> {
        let upstream = Arc::clone(&self.whole);
        if upstream.group.is_empty() {
            return Err(Refusal::NoHealthyEndpoints { upstream });
        }
        Ok(Ruling { delay: None, verdict: Verdict::Forward(Forward::plain(upstream)) })
    }
}
