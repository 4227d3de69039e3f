//! One request under the rule that took it.

use super::answer::Answer;
use super::cors::{Judged, Sharing};
use super::index::Entry;
use super::matching::Asked;
use super::path::Part;
use super::ruling::{Forward, Ruling, Taken, Verdict};
use super::treatment::{Copies, Kind, Own, Treatment, Way};
use super::{Binding, Refusal, ServiceRef, Upstream};
use crate::model::HttpRule;
use crate::model::http_rule::{Abort, Share};
use fastrand::Rng;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A request under the rule that took it.
pub(super) struct Case<'a> {
    pub(super) asked: Asked<'a>,
    /// The service port that the client used.
    pub(super) used: &'a Arc<ServiceRef>,
    pub(super) binding: &'a Arc<Binding>,
    pub(super) entry: Entry,
}

/// A CORS policy, and the origin that it allows to read the answer.
type Mark<'a> = (&'a Sharing, HeaderValue);

impl<'a> Case<'a> {
    /// What is done with it; the order is that of [`super::ruling`].
    pub(super) fn ruling(&self, rng: &mut Rng) -> Result<Ruling, Refusal> {
        let treatment = self.treatment();
        treatment.action.broken(self.used)?;
        let delay = treatment.fault.delay.filter(|(_, share)| drawn(*share, rng)).map(|(delay, _)| delay);
        match self.verdict(rng) {
            Ok(verdict) => Ok(Ruling { delay, verdict }),
            Err(refusal) if delay.is_none() => Err(refusal),
            // A delay is meant for refusals too.
            Err(refusal) => Ok(Ruling { delay, verdict: self.answer(Answer::refusal(self.asked.request, &refusal)) }),
        }
    }

    fn verdict(&self, rng: &mut Rng) -> Result<Verdict, Refusal> {
        let treatment = self.treatment();
        if let Some((abort, _)) = treatment.fault.abort.filter(|(_, share)| drawn(*share, rng)) {
            return Ok(self.abort(abort));
        }
        let mark = match self.judged(treatment.cors.as_ref()) {
            ControlFlow::Break(verdict) => return Ok(verdict),
            ControlFlow::Continue(mark) => mark,
        };
        if let Some(own) = &treatment.own {
            return Ok(self.own(own, mark));
        }
        let at = treatment.action.draw(self.used, rng)?;
        treatment.action.usable(at, self.used)?;
        let way = &treatment.ways[at];
        let sharing = way.cors.as_ref().filter(|_| treatment.cors.is_none());
        let mark = match self.judged(sharing) {
            ControlFlow::Break(verdict) => return Ok(verdict),
            ControlFlow::Continue(own) => mark.or(own),
        };
        if let Some(redirect) = &way.redirect {
            return Ok(self.own(redirect, mark));
        }
        let upstream = treatment.action.reach(at, self.asked.source, self.used)?;
        Ok(Verdict::Forward(self.forward(upstream, (at, way), mark, rng)))
    }

    fn forward(
        &self,
        upstream: Arc<Upstream>,
        (at, way): (usize, &Way),
        mark: Option<Mark<'_>>,
        rng: &mut Rng,
    ) -> Forward {
        let copies = self.treatment().mirrors.iter().chain(&way.mirrors);
        let copied = copies.filter(|copies| drawn(copies.share, rng)).filter_map(|copies| self.copied(copies));
        let (binding, origin) = (Arc::clone(self.binding), mark.map(|(_, origin)| origin));
        Forward { upstream, taken: Some(Taken { binding, entry: self.entry, at, origin }), mirrors: copied.collect() }
    }

    /// Where a copy goes; none where there is nobody to take it.
    fn copied(&self, copies: &Copies) -> Option<Arc<Upstream>> {
        copies.target.upstream(self.asked.source, self.used.port).filter(|upstream| !upstream.group.is_empty())
    }

    /// An end for a preflight, else whom the answer is marked for.
    fn judged<'s>(&self, sharing: Option<&'s Sharing>) -> ControlFlow<Verdict, Option<Mark<'s>>> {
        let Some(sharing) = sharing else { return ControlFlow::Continue(None) };
        match sharing.judge(self.asked.request) {
            Judged::Silent => ControlFlow::Continue(None),
            Judged::Allowed(origin) => ControlFlow::Continue(Some((sharing, origin))),
            Judged::Preflight(headers) => ControlFlow::Break(self.preflight(headers)),
        }
    }

    fn preflight(&self, headers: HeaderMap) -> Verdict {
        let answer = Answer::new(self.asked.request, StatusCode::OK, "".into());
        self.answer(Answer { headers, ..answer })
    }

    fn abort(&self, abort: Abort) -> Verdict {
        let answer = match abort {
            Abort::Http(status) => Answer::new(self.asked.request, status, ABORTED.into()),
            Abort::Grpc(code) => Answer::grpc(code, ABORTED.as_bytes()),
        };
        self.answer(Answer { flag: "FI", ..answer })
    }

    fn own(&self, own: &Own, mark: Option<Mark<'_>>) -> Verdict {
        let request = self.asked.request;
        let mut answer = match &own.kind {
            Kind::Direct(status, body) => Answer::new(request, *status, body.clone()),
            Kind::Redirect(redirection) => {
                let mut answer = Answer::new(request, redirection.status, "".into());
                let location = redirection.location(request, self.part(), self.used.port);
                answer.headers.extend(location.map(|location| (LOCATION, location)));
                answer
            }
        };
        own.edits.apply(&mut answer.headers);
        if let Some((sharing, origin)) = mark {
            sharing.mark(&origin, &mut answer.headers);
        }
        self.answer(answer)
    }

    fn answer(&self, answer: Answer) -> Verdict {
        Verdict::Answer(Answer { rule: self.rule().and_then(|rule| rule.name.clone()), ..answer })
    }

    fn treatment(&self) -> &'a Treatment {
        &self.binding.http[self.entry.rule]
    }

    fn rule(&self) -> Option<&'a HttpRule> {
        self.binding.rules.http.get(self.entry.rule)
    }

    fn part(&self) -> Part {
        self.entry.part(&self.binding.rules.http)
    }
}

fn drawn(share: Share, rng: &mut Rng) -> bool {
    share >= Share::ALL || (share > Share(0) && share.takes(rng.u32(..Share::ALL.0)))
}

/// Envoy's words, which users look for.
const ABORTED: &str = "fault filter abort";
