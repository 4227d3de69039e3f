//! What is done with one request.
//!
//! In this order, which is Envoy's under Istio: the first rule with a match that holds takes the request; a delay is
//! drawn, then an abort; a CORS preflight is answered; a redirect or a fixed answer is given, or one of the destinations
//! is drawn by weight, which may answer by itself too. What goes on gets another path and authority, then the headers
//! of the rule, then those of the destination. The answer gets headers likewise, then the marks of CORS.

use super::edits::retarget;
use super::index::Entry;
use super::treatment::{Treatment, Way};
use super::{Answer, Binding, Upstream};
use crate::model::HttpRule;
use crate::model::http_rule::Retry;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The decision on one request.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Waited for before anything else is done; its flag is `DI`.
    pub delay: Option<Duration>,
    /// What is done then.
    pub verdict: Verdict,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is answered here.
    Answer(Answer),
    /// It goes on.
    Forward(Forward),
}

/// A request on its way to an upstream that has at least one ready endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forward {
    pub(super) upstream: Arc<Upstream>,
    pub(super) taken: Option<Taken>,
    pub(super) mirrors: Arc<[Arc<Upstream>]>,
}

/// How a rule took a request.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) binding: Arc<Binding>,
    /// Which of its HTTP rules, by which match.
    pub(super) entry: Entry,
    /// Which of the rule's destinations.
    pub(super) at: usize,
    /// Whom the answer is marked for.
    pub(super) origin: Option<HeaderValue>,
}

impl Forward {
    /// A request that no rule has a say in.
    pub fn plain(upstream: Arc<Upstream>) -> Self {
        Self { upstream, taken: None, mirrors: Arc::default() }
    }

    /// Where it goes.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The name of the rule that took it, where it has one.
    pub fn rule(&self) -> Option<&Arc<str>> {
        self.model()?.name.as_ref()
    }

    /// Whether [`Self::shape_request`] and [`Self::shape_response`] change anything.
    pub fn shapes(&self) -> (bool, bool) {
        let Some((taken, _, way)) = self.way() else { return (false, false) };
        let request = way.path.is_some() || way.authority.is_some() || !way.request.is_empty();
        (request, taken.origin.is_some() || !way.response.is_empty())
    }

    /// Makes the request what the destination is to see.
    pub fn shape_request(&self, request: &mut Parts) {
        let Some((taken, _, way)) = self.way() else { return };
        if let Some(path) = &way.path
            && request.uri.path_and_query().is_some()
        {
            let changed =
                path.apply(request.uri.path(), request.uri.query(), taken.entry.part(&taken.binding.rules.http));
            retarget(&mut request.uri, changed);
        }
        if let Some(authority) = &way.authority {
            authority.apply(request);
        }
        way.request.apply(&mut request.headers);
    }

    /// Makes the answer what the client is to see.
    pub fn shape_response(&self, headers: &mut HeaderMap) {
        let Some((taken, treatment, way)) = self.way() else { return };
        way.response.apply(headers);
        let sharing = treatment.cors.as_ref().or(way.cors.as_ref());
        if let Some((sharing, origin)) = sharing.zip(taken.origin.as_ref()) {
            sharing.mark(origin, headers);
        }
    }

    /// How long the whole exchange may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.model()?.timeout
    }

    /// When and how often a failed attempt is repeated; where no rule has a say, as Istio does.
    pub fn retry(&self) -> Option<&Retry> {
        self.model().map_or(Some(&USUAL), |rule| rule.retry.as_ref())
    }

    /// Where copies of this request go.
    pub fn mirrors(&self) -> &[Arc<Upstream>] {
        &self.mirrors
    }

    fn model(&self) -> Option<&HttpRule> {
        let taken = self.taken.as_ref()?;
        taken.binding.rules.http.get(taken.entry.rule)
    }

    fn way(&self) -> Option<(&Taken, &Treatment, &Way)> {
        let taken = self.taken.as_ref()?;
        let treatment = taken.binding.http.get(taken.entry.rule)?;
        Some((taken, treatment, treatment.ways.get(taken.at)?))
    }
}

static USUAL: LazyLock<Retry> = LazyLock::new(Retry::usual);
