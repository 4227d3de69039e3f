//! What all AuthorizationPolicies of a workload say together, in Istio's order.

use super::authorize::{Asked, Decision, Denied, Permit, Reason, Report, Told, Verdict};
use super::facts::{Connection, Seen};
use super::layer::{Layer, Selected};
use super::matcher::{Rule, Truth};
use crate::model::authorization_policy::Action;
use std::sync::Arc;

/// A decision about one connection, or one request on it.
pub(super) struct Question<'a> {
    pub(super) layers: [Option<&'a Arc<Layer>>; 3],
    pub(super) connection: &'a Connection<'a>,
    pub(super) seen: Seen<'a>,
    pub(super) asked: Asked,
}

/// Policies of one action that match.
struct Found<'a> {
    truth: Truth,
    first: Option<(&'a Selected, &'a Rule)>,
    any: Option<&'a Selected>,
}

impl<'a> Question<'a> {
    pub(super) fn decide(&self, permit: Permit) -> Decision {
        if self.layers.iter().all(Option::is_none) {
            return Decision::of(Verdict::Allowed { permit, by: None });
        }
        let verdict = self.verdict(permit);
        let open = matches!(verdict, Verdict::Undecided);
        // What is told of a connection that requests decide about is told of those.
        match self.reports() {
            Ok(_) if open => Decision::of(Verdict::Undecided),
            Ok(reports) => Decision { verdict, reports },
            Err(OnRequests) if matches!(verdict, Verdict::Allowed { .. }) => Decision::of(Verdict::Undecided),
            Err(OnRequests) => Decision::of(verdict),
        }
    }

    fn verdict(&self, permit: Permit) -> Verdict {
        let custom = self.custom();
        if let Some(providers) = custom.as_ref().filter(|providers| !providers.is_empty()) {
            return Verdict::Ask(providers.clone());
        }
        let deny = self.find(|layer| &layer.deny);
        if let (Truth::Yes, Some((policy, rule))) = (deny.truth, deny.first) {
            let stand_in = policy.compiled.policy.stand_in;
            let reason = if stand_in { Reason::Unreadable } else { Reason::Forbidden };
            return Verdict::Denied(Denied { rule: Arc::clone(&rule.label), reason });
        }
        let allow = self.find(|layer| &layer.allow);
        if let (Truth::No, Some(policy)) = (allow.truth, allow.any) {
            return Verdict::Denied(Denied { rule: Arc::clone(&policy.compiled.label), reason: Reason::NotAllowed });
        }
        let open = deny.truth == Truth::Unknown || (allow.any.is_some() && allow.truth == Truth::Unknown);
        if open || custom.is_none() {
            return Verdict::Undecided;
        }
        let by = allow.first.filter(|_| allow.truth == Truth::Yes).map(|(_, rule)| Arc::clone(&rule.label));
        Verdict::Allowed { permit, by }
    }

    fn policies(&self, part: impl Fn(&'a Layer) -> &'a Vec<Selected>) -> impl Iterator<Item = &'a Selected> {
        let port = self.connection.destination.port();
        let layers = self.layers.iter().flatten().copied();
        layers.flat_map(move |layer| part(layer)).filter(move |one| one.is_for(port))
    }

    fn find(&self, part: impl Fn(&'a Layer) -> &'a Vec<Selected>) -> Found<'a> {
        let mut found = Found { truth: Truth::No, first: None, any: None };
        for one in self.policies(part) {
            found.any = found.any.or(Some(one));
            let (truth, rule) = one.compiled.truth(self.connection, self.seen);
            if truth > found.truth {
                found.truth = truth;
                found.first = rule.map(|rule| (one, rule));
            }
            if truth == Truth::Yes {
                break;
            }
        }
        found
    }

    /// Whom to ask first. `None` is not known yet: whether it is each request or the whole connection that is asked
    /// about is known when it has spoken.
    fn custom(&self) -> Option<Vec<Arc<str>>> {
        let mut providers: Vec<Arc<str>> = Vec::new();
        if self.asked == Asked::Passed {
            return Some(providers);
        }
        for one in self.policies(|layer| &layer.custom) {
            let Action::Custom(provider) = &one.compiled.policy.action else { continue };
            let (truth, _) = one.compiled.truth(self.connection, self.seen);
            if truth != Truth::No && matches!(self.seen, Seen::Nothing) {
                return None;
            }
            if truth == Truth::Yes && !providers.contains(provider) {
                providers.push(Arc::clone(provider));
            }
        }
        Some(providers)
    }

    /// What policies have to say that decide nothing.
    fn reports(&self) -> Result<Vec<Report>, OnRequests> {
        let mut reports = Vec::new();
        for one in self.policies(|layer| &layer.audit) {
            if self.holds(one)? {
                reports.push(report(one, Told::Audited));
            }
        }
        for one in self.policies(|layer| &layer.dry_run) {
            reports.extend(self.dry_run(one)?.map(|told| report(one, told)));
        }
        Ok(reports)
    }

    fn holds(&self, one: &Selected) -> Result<bool, OnRequests> {
        match one.compiled.truth(self.connection, self.seen).0 {
            Truth::Yes => Ok(true),
            Truth::No => Ok(false),
            Truth::Unknown => Err(OnRequests),
        }
    }

    /// What a policy would do if it were in force. An ALLOW policy that does not match would deny, unless another
    /// ALLOW policy matches, in force or not.
    fn dry_run(&self, one: &'a Selected) -> Result<Option<Told>, OnRequests> {
        let holds = self.holds(one)?;
        Ok(match (&one.compiled.policy.action, holds) {
            (Action::Deny, true) => Some(Told::WouldDeny),
            (Action::Allow, true) => Some(Told::WouldAllow),
            (Action::Custom(_), true) => Some(Told::WouldAsk),
            (Action::Allow, false) => {
                let in_force = self.policies(|layer| &layer.allow);
                let all = in_force.chain(self.policies(|layer| &layer.dry_run));
                let mut others = all.filter(|other| other.compiled.policy.action == Action::Allow);
                let taken = others.try_fold(false, |taken, other| Ok(taken || self.holds(other)?))?;
                (!taken).then_some(Told::WouldDeny)
            }
            (Action::Audit, _) | (_, false) => None,
        })
    }
}

/// It is for requests to say.
struct OnRequests;

fn report(one: &Selected, told: Told) -> Report {
    Report { policy: Arc::clone(&one.compiled.label), told }
}
