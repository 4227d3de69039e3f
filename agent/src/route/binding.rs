//! A VirtualService bound to the compiled hosts that its rules lead to.

use super::action::Action;
use super::index::Index;
use super::matching::tls_rule;
use super::target::Target;
use super::treatment::Treatment;
use super::{Backends, Refusal, ServiceRef, Upstream};
use crate::model::http_rule::{Dialect, HttpAction};
use crate::model::{Destination, Finding, HttpRule, Severity, VirtualService, WeightedDestination, Workload};
use crate::vocab::{Hostname, OrigDst};
use fastrand::Rng;
use std::sync::Arc;

/// A VirtualService whose destinations are found and whose rules are ready to be applied.
///
/// It does not know for which host or port it is used: one for all hosts that it covers.
#[derive(Debug)]
pub struct Binding {
    /// The rules.
    pub rules: Arc<VirtualService>,
    pub(super) index: Index,
    pub(super) http: Box<[Treatment]>,
    pub(super) tls: Box<[Action]>,
    pub(super) tcp: Box<[Action]>,
}

/// What the rules of a binding are called in logs, where not by their place in a VirtualService.
#[derive(Debug, Default)]
pub struct Titles {
    /// Of the HTTP rules, in order.
    pub http: Vec<Arc<str>>,
    /// Of the TLS rules.
    pub tls: Vec<Arc<str>>,
    /// Of the TCP rules.
    pub tcp: Vec<Arc<str>>,
}

impl Titles {
    fn of(&self, rules: &VirtualService, kind: &str, at: usize) -> Arc<str> {
        let title = match kind {
            "http" => self.http.get(at),
            "tls" => self.tls.get(at),
            _ => self.tcp.get(at),
        };
        title.cloned().unwrap_or_else(|| format!("VirtualService {} {kind}[{at}]", rules.id).into())
    }
}

impl Binding {
    /// Binds a VirtualService, and says which destinations are not there.
    pub fn new(rules: Arc<VirtualService>, find: impl Fn(&Hostname) -> Option<Arc<Backends>>) -> (Self, Vec<Finding>) {
        Self::bind(rules, &Titles::default(), find)
    }

    /// Binds the merged rules of routes, whose references were looked into before.
    pub fn titled(
        rules: Arc<VirtualService>,
        titles: &Titles,
        find: impl Fn(&Hostname) -> Option<Arc<Backends>>,
    ) -> Self {
        Self::bind(rules, titles, find).0
    }

    fn bind(
        rules: Arc<VirtualService>,
        titles: &Titles,
        find: impl Fn(&Hostname) -> Option<Arc<Backends>>,
    ) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let treatment = |(at, rule): (usize, &HttpRule)| {
            let broken = (rule.broken.clone().or_else(|| undelegated(&rule.action)), rule.dialect);
            let action = Action::new(titles.of(&rules, "http", at), broken, rule.route(), &find);
            let treatment = Treatment::new(action, rule, &find);
            findings.extend(of_requests(&rules, rule, &treatment));
            treatment
        };
        let http = rules.http.iter().enumerate().map(treatment).collect();
        let mut action = |kind: &str, at: usize, broken: &Option<Arc<str>>, route: &[WeightedDestination]| {
            let broken = (broken.clone(), Dialect::Istio);
            let action = Action::new(titles.of(&rules, kind, at), broken, route, &find);
            findings.extend(of_route(&rules, &action, route));
            action
        };
        let tls = rules.tls.iter().enumerate();
        let tls = tls.map(|(at, rule)| action("tls", at, &rule.broken, &rule.route)).collect();
        let tcp = rules.tcp.iter().enumerate();
        let tcp = tcp.map(|(at, rule)| action("tcp", at, &rule.broken, &rule.route)).collect();
        let index = Index::new(&rules.http);
        (Self { rules, index, http, tls, tcp }, findings)
    }

    /// One of the destinations of the first TLS rule that takes a connection whose client asks for this name; none
    /// where no rule does.
    pub fn choose_tls(
        &self,
        (source, dst): (&Workload, OrigDst),
        sni: Option<&str>,
        used: &Arc<ServiceRef>,
        rng: &mut Rng,
    ) -> Option<Result<Arc<Upstream>, Refusal>> {
        let mut rules = self.rules.tls.iter().zip(&self.tls);
        let (_, action) = rules.find(|(rule, _)| tls_rule(rule, source, dst, sni))?;
        Some(action.choose(source, used, rng))
    }
}

/// The snapshot puts other rules in the place of one that delegates; what is left has nobody to delegate to.
fn undelegated(action: &HttpAction) -> Option<Arc<str>> {
    match action {
        HttpAction::Delegate(to) => Some(format!("there is no VirtualService {to} to delegate to").into()),
        HttpAction::Forward(_) | HttpAction::Redirect(_) | HttpAction::Direct(_) => None,
    }
}

/// What is wrong with the destinations and mirrors of an HTTP rule.
fn of_requests(rules: &VirtualService, rule: &HttpRule, treatment: &Treatment) -> Vec<Finding> {
    // A rule that its source broke was reported there, and one that answers by itself has no destination.
    if rule.broken.is_some() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if let HttpAction::Forward(route) = &rule.action {
        findings.extend(of_route(rules, &treatment.action, route));
    }
    let filters = [&rule.filters].into_iter().chain(rule.route().iter().map(|to| &to.filters));
    let mirrors = filters.flat_map(|filters| &filters.mirrors).filter(|mirror| mirror.broken.is_none());
    let missing = treatment.copies().zip(mirrors).filter_map(|(copies, mirror)| {
        of_target(rules, &copies.target, (&mirror.destination, "no copies are sent there"))
    });
    findings.extend(missing);
    findings
}

/// What is wrong with the destinations of a rule, seen from the rules' own namespace.
fn of_route(rules: &VirtualService, action: &Action, route: &[WeightedDestination]) -> Vec<Finding> {
    if action.is_broken() {
        return Vec::new();
    }
    let consequence = match action.dialect {
        Dialect::Istio => "its share of the traffic gets 503 (NC)",
        Dialect::Gateway => "its share of the traffic gets 500",
    };
    let targets = action.targets().zip(route).filter_map(|(target, to)| Some((target?, &to.destination)));
    let missing = targets.filter_map(|(target, to)| of_target(rules, target, (to, consequence)));
    let weightless = action.weightless().map(|why| Finding {
        severity: Severity::Error,
        code: "weights",
        at: rules.origin.to_string(),
        message: format!("{}: {why}; its traffic gets 500", action.name),
    });
    missing.chain(weightless).collect()
}

fn of_target(rules: &VirtualService, target: &Target, (to, consequence): (&Destination, &str)) -> Option<Finding> {
    let (code, message) = target.fault(&rules.id.namespace, to)?;
    let message = format!("VirtualService {}: {message}; {consequence}", rules.id);
    Some(Finding { severity: Severity::Error, code, at: to.origin.to_string(), message })
}
