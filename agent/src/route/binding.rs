//! A VirtualService bound to the compiled hosts that its rules lead to.

use super::{Backends, Refusal, ServiceRef, Upstream};
use crate::model::{Destination, Finding, Severity, VirtualService, WeightedDestination, Workload};
use crate::vocab::{Hostname, Namespace, SubsetName};
use fastrand::Rng;
use std::sync::Arc;

/// A VirtualService whose destinations are found.
///
/// It does not know for which host or port it is used: one for all hosts that it covers.
#[derive(Debug)]
pub struct Binding {
    /// The rules.
    pub rules: Arc<VirtualService>,
    pub(super) http: Box<[Action]>,
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
    fn of(&self, kind: &str, at: usize) -> Option<&Arc<str>> {
        match kind {
            "http" => self.http.get(at),
            "tls" => self.tls.get(at),
            _ => self.tcp.get(at),
        }
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
        let mut action = |kind: &str, at: usize, broken: &Option<Arc<str>>, route: &[WeightedDestination]| {
            let title = titles.of(kind, at).cloned();
            let name = title.unwrap_or_else(|| format!("VirtualService {} {kind}[{at}]", rules.id).into());
            let action = Action::new(name, broken.clone(), route, &find);
            // A rule that its source broke was reported there.
            if broken.is_none() {
                findings.extend(action.findings(&rules, route));
            }
            action
        };
        let http = rules.http.iter().enumerate();
        let http = http.map(|(at, rule)| action("http", at, &rule.broken, rule.route())).collect();
        let tcp = rules.tcp.iter().enumerate();
        let tcp = tcp.map(|(at, rule)| action("tcp", at, &rule.broken, &rule.route)).collect();
        (Self { rules, http, tcp }, findings)
    }
}

/// What one rule does with what it takes.
#[derive(Debug)]
pub(super) struct Action {
    name: Arc<str>,
    broken: Option<Arc<str>>,
    targets: Box<[Target]>,
}

/// One destination of a rule.
#[derive(Debug)]
struct Target {
    /// The sum of the weights up to and with this one.
    below: u64,
    backends: Option<Arc<Backends>>,
    port: Option<u16>,
    subset: Option<SubsetName>,
    /// As text, for the log.
    name: Arc<str>,
}

impl Action {
    fn new(
        name: Arc<str>,
        broken: Option<Arc<str>>,
        route: &[WeightedDestination],
        find: impl Fn(&Hostname) -> Option<Arc<Backends>>,
    ) -> Self {
        let mut below = 0;
        let only = route.len() == 1;
        let target = |weighted: &WeightedDestination| {
            let to = &weighted.destination;
            below += u64::from(if only { 1 } else { weighted.weight });
            let (port, subset, backends) = (to.port, to.subset.clone(), find(&to.host));
            let name = describe(to, backends.as_deref()).into();
            Target { below, backends, port, subset, name }
        };
        let targets: Box<[Target]> = route.iter().map(target).collect();
        let weightless = (below == 0).then(|| "no destination has a weight".into());
        Self { name, broken: broken.or(weightless), targets }
    }

    /// One of the rule's destinations, in proportion to their weights, as a client sees it.
    pub(super) fn choose(
        &self,
        client: &Workload,
        used: &Arc<ServiceRef>,
        rng: &mut Rng,
    ) -> Result<Arc<Upstream>, Refusal> {
        if let Some(why) = &self.broken {
            let (service, rule) = (Arc::clone(used), Arc::clone(&self.name));
            return Err(Refusal::Broken { service, rule, why: Arc::clone(why) });
        }
        let total = self.targets.last().map_or(0, |target| target.below);
        let drawn = if self.targets.len() == 1 { 0 } else { rng.u64(..total) };
        let target = &self.targets[self.targets.partition_point(|target| target.below <= drawn)];
        let upstream = target.upstream(client, used.port).ok_or_else(|| Refusal::Missing {
            service: Arc::clone(used),
            rule: Arc::clone(&self.name),
            destination: Arc::clone(&target.name),
        })?;
        if upstream.group.is_empty() {
            return Err(Refusal::NoHealthyEndpoints { upstream });
        }
        Ok(upstream)
    }

    /// What is wrong with the destinations, seen from the VirtualService's own namespace.
    fn findings(&self, rules: &VirtualService, route: &[WeightedDestination]) -> Vec<Finding> {
        let targets = self.targets.iter().zip(route);
        let missing = targets.filter_map(|(target, weighted)| target.finding(rules, &weighted.destination));
        let weightless = self.broken.as_ref().map(|why| Finding {
            severity: Severity::Error,
            code: "weights",
            at: rules.origin.to_string(),
            message: format!("{}: {why}; its traffic gets 500", self.name),
        });
        missing.chain(weightless).collect()
    }
}

impl Target {
    fn upstream(&self, client: &Workload, used: u16) -> Option<Arc<Upstream>> {
        let backends = self.backends.as_ref()?;
        let port = match (self.port, backends.ports()) {
            (Some(port), _) => backends.port(port)?,
            (None, [only]) => only,
            (None, _) => backends.port(used)?,
        };
        backends.upstream(client, port, self.subset.as_ref())
    }

    fn finding(&self, rules: &VirtualService, to: &Destination) -> Option<Finding> {
        let (code, message) = self.fault(&rules.id.namespace, to)?;
        let consequence = format!("VirtualService {}: {message}; its share of the traffic gets 503 (NC)", rules.id);
        Some(Finding { severity: Severity::Error, code, at: to.origin.to_string(), message: consequence })
    }

    fn fault(&self, namespace: &Namespace, to: &Destination) -> Option<(&'static str, String)> {
        let Some(backends) = &self.backends else {
            return Some(("missing-host", format!("no cluster has a Service {}", to.host)));
        };
        if let Some(port) = to.port.filter(|port| backends.port(*port).is_none()) {
            return Some(("missing-port", format!("{} has no port {port}", to.host)));
        }
        let subset = to.subset.as_ref()?;
        let Some(rule) = backends.rule(namespace) else {
            let message = format!("no DestinationRule defines subset {subset} of {}", to.host);
            return Some(("missing-subset", message));
        };
        if rule.subsets.iter().any(|defined| defined.name == *subset) {
            return None;
        }
        let message = format!("DestinationRule {} has no subset {subset} of {}", rule.id, to.host);
        Some(("missing-subset", message))
    }
}

fn describe(to: &Destination, backends: Option<&Backends>) -> String {
    let subset = to.subset.as_ref().map(|subset| format!(" subset {subset}")).unwrap_or_default();
    let port = match (to.port, backends) {
        (Some(port), _) => format!(":{port}"),
        (None, Some(backends)) if backends.ports().len() != 1 => ", with the client's port".into(),
        (None, _) => String::new(),
    };
    format!("{}{port}{subset}", to.host)
}
