//! What becomes of the routes of one Service: which are in force at which of its ports, and what their status says.

use super::merge::{merge, seniority};
use super::references::{Resolved, World, declared, resolve};
use super::status::{self, Acceptance, Object, Standing};
use crate::model::gateway_route::{Parent, ParentTarget};
use crate::model::service::ServiceKind;
use crate::model::{AppProtocol, Finding, RouteId, RouteKind, ServicePort, Severity};
use crate::route::Binding;
use crate::route::attached::{Attached, PortRoutes, RouteSet};
use crate::vocab::{Hostname, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came of a Service's routes.
#[derive(Default)]
pub(in crate::snapshot) struct Compiled {
    /// The routes in force, if any.
    pub(in crate::snapshot) attached: Option<Attached>,
    /// What is wrong with them.
    pub(in crate::snapshot) findings: Vec<Finding>,
    /// What their status says of this parent.
    pub(in crate::snapshot) standings: Vec<Standing>,
}

/// Compiles the routes of a Service, which may not be there.
pub(in crate::snapshot) fn compile(host: &Hostname, world: World<'_>) -> Compiled {
    let mut routes: Vec<_> = world.index.routes.attached.values(host).collect();
    if routes.is_empty() {
        return Compiled::default();
    }
    routes.sort_by_cached_key(|route| seniority(route));
    let routes: Vec<Resolved<'_>> = routes.into_iter().map(|route| resolve(route, host, world)).collect();
    let ports = ports(host, world);
    let mut compiler = Compiler { host, world, routes, fates: BTreeMap::new(), sets: Vec::new() };
    let compiled: Vec<_> = ports.iter().filter_map(|port| compiler.port(port)).collect();
    let attached = (!compiled.is_empty()).then(|| Attached { host: host.clone(), ports: compiled.into() });
    let (mut findings, mut standings) = (Vec::new(), Vec::new());
    for (at, resolved) in compiler.routes.iter().enumerate() {
        findings.extend(resolved.problems.iter().filter_map(|problem| {
            let what = format!("{}: {}; {}", resolved.route.id, problem.what, consequence(resolved.route.id.kind));
            problem.code.map(|code| finding(code, &problem.at, what))
        }));
        for (index, parent) in compiler.own_parents(at) {
            let acceptance = compiler.acceptance(at, index, parent);
            findings.extend(rejected(&resolved.route.id, parent, &acceptance));
            let conditions = status::route(&acceptance, &resolved.problems, resolved.route.age.generation);
            let object = Object::Route(resolved.route.id.clone());
            standings.push(Standing { object, index, reference: parent.reference.clone(), conditions });
        }
    }
    Compiled { attached, findings, standings }
}

/// The ports of a Service, as the first cluster that has each declares it.
fn ports<'a>(host: &Hostname, world: World<'a>) -> Vec<&'a ServicePort> {
    let mut ports: BTreeMap<u16, &ServicePort> = BTreeMap::new();
    if declared(world.index, host).is_none_or(|service| service.kind != ServiceKind::Virtual) {
        return Vec::new();
    }
    for port in world.index.services.values(host).flat_map(|service| &service.ports) {
        ports.entry(port.number).or_insert(port);
    }
    ports.into_values().collect()
}

/// What became of one reference to the Service.
#[derive(Default)]
struct Fate {
    /// How many ports it names.
    named: usize,
    /// At how many of them its kind has something to route.
    usable: usize,
    /// At how many of them it is in force.
    taken: usize,
    /// Who took the others.
    lost_to: Option<RouteId>,
}

struct Compiler<'a> {
    host: &'a Hostname,
    world: World<'a>,
    /// In order of seniority.
    routes: Vec<Resolved<'a>>,
    /// By route and reference.
    fates: BTreeMap<(usize, usize), Fate>,
    /// What was merged already: most Services have the same routes at each of their ports.
    sets: Vec<(Vec<usize>, RouteSet)>,
}

impl<'a> Compiler<'a> {
    fn own_parents(&self, route: usize) -> impl Iterator<Item = (usize, &'a Parent)> + use<'a> {
        let host = self.host;
        let parents = self.routes[route].route.parents.iter().enumerate();
        parents.filter(move |(_, parent)| parent.target == ParentTarget::Service(host.clone()))
    }

    fn port(&mut self, port: &ServicePort) -> Option<PortRoutes> {
        let mut groups: BTreeMap<Namespace, BTreeSet<usize>> = BTreeMap::new();
        for route in 0..self.routes.len() {
            let id = &self.routes[route].route.id;
            let usable = usable(id.kind, port.protocol);
            let namespace = id.id.namespace.clone();
            for (index, parent) in self.own_parents(route).filter(|(_, parent)| names(parent, port)) {
                let _ = parent;
                let fate = self.fates.entry((route, index)).or_default();
                fate.named += 1;
                fate.usable += usize::from(usable);
                if usable {
                    groups.entry(namespace.clone()).or_default().insert(route);
                }
            }
        }
        let service = super::references::service(self.host).1;
        let (mut producer, mut consumers) = (None, Vec::new());
        for (namespace, routes) in groups {
            let set = self.set(&routes, port);
            match namespace.as_str() == service {
                true => producer = set,
                false => consumers.extend(set.map(|set| (namespace, set))),
            }
        }
        let any = producer.is_some() || !consumers.is_empty();
        any.then(|| PortRoutes { number: port.number, producer, consumers: consumers.into() })
    }

    /// Of routes of several kinds those of the first kind are in force.
    fn set(&mut self, routes: &BTreeSet<usize>, port: &ServicePort) -> Option<RouteSet> {
        let kind = routes.iter().map(|route| self.routes[*route].route.id.kind).min()?;
        let (won, lost): (Vec<usize>, Vec<usize>) =
            routes.iter().partition(|route| self.routes[**route].route.id.kind == kind);
        let winner = self.routes[*won.first()?].route.id.clone();
        for (routes, loser) in [(&won, false), (&lost, true)] {
            for route in routes {
                for (index, _) in self.own_parents(*route).filter(|(_, parent)| names(parent, port)) {
                    let fate = self.fates.entry((*route, index)).or_default();
                    fate.taken += usize::from(!loser);
                    fate.lost_to = fate.lost_to.take().or_else(|| loser.then(|| winner.clone()));
                }
            }
        }
        if let Some((_, set)) = self.sets.iter().find(|(routes, _)| *routes == won) {
            return Some(set.clone());
        }
        let set = self.merged(kind, &won)?;
        self.sets.push((won, set.clone()));
        Some(set)
    }

    fn merged(&self, kind: RouteKind, routes: &[usize]) -> Option<RouteSet> {
        let routes: Vec<_> = routes.iter().map(|route| &self.routes[*route]).collect();
        let (rules, titles) = merge(self.host, &routes)?;
        let find = |host: &Hostname| self.world.backends.get(host).cloned();
        let binding = Arc::new(Binding::titled(Arc::new(rules), &titles, find));
        Some(RouteSet { kind, routes: routes.iter().map(|one| one.route.id.clone()).collect(), binding })
    }

    fn acceptance(&self, route: usize, index: usize, parent: &Parent) -> Acceptance {
        let rejected = |what: String| Acceptance::Rejected("NoMatchingParent", what);
        let (name, namespace) = super::references::service(self.host);
        match declared(self.world.index, self.host).map(|service| &service.kind) {
            None => return rejected(format!("no cluster has a Service {name} in {namespace}")),
            Some(ServiceKind::Headless) => {
                return rejected(format!("the Service {name} of {namespace} is headless: it has no address to route"));
            }
            Some(ServiceKind::Alias(_)) => {
                return rejected(format!("the Service {name} of {namespace} is of type ExternalName"));
            }
            Some(ServiceKind::Virtual) => {}
        }
        let fate = self.fates.get(&(route, index));
        let kind = self.routes[route].route.id.kind;
        match fate {
            None => {
                let port = parent.reference.port.map(|port| format!(" {port}")).unwrap_or_default();
                let section = parent.reference.section_name.as_ref();
                let section = section.map(|section| format!(" named {section}")).unwrap_or_default();
                rejected(format!("the Service {name} of {namespace} has no port{port}{section}"))
            }
            Some(fate) if fate.usable == 0 => {
                let wanted = if kind.routes_requests() { "HTTP" } else { "TLS" };
                rejected(format!(
                    "no port of the Service {name} of {namespace} that it names speaks {wanted}: set appProtocol, or \
                     another name of the port"
                ))
            }
            Some(Fate { taken: 0, lost_to, .. }) => {
                let by = lost_to.as_ref().map(ToString::to_string).unwrap_or_default();
                Acceptance::Rejected(
                    "Conflicted",
                    format!("{by} is attached to the same ports, and only it is in force"),
                )
            }
            Some(fate) => Acceptance::Accepted(fate.taken),
        }
    }
}

/// Whether a reference is to this port of its Service.
fn names(parent: &Parent, port: &ServicePort) -> bool {
    let reference = &parent.reference;
    reference.port.is_none_or(|number| number == port.number)
        && reference.section_name.as_ref().is_none_or(|name| *name == port.name)
}

/// Whether a kind of route has something to route at a port. What a port does not say, the first bytes tell.
fn usable(kind: RouteKind, protocol: AppProtocol) -> bool {
    match kind {
        RouteKind::Grpc | RouteKind::Http => protocol.is_http() || protocol == AppProtocol::Unknown,
        RouteKind::Tls => !protocol.is_http(),
        RouteKind::Tcp => true,
    }
}

fn rejected(route: &RouteId, parent: &Parent, acceptance: &Acceptance) -> Option<Finding> {
    let Acceptance::Rejected(reason, what) = acceptance else { return None };
    let code = if *reason == "Conflicted" { "conflict" } else { "missing-parent" };
    Some(finding(code, &parent.origin, format!("{route} has no effect here: {what}")))
}

fn finding(code: &'static str, at: impl ToString, message: String) -> Finding {
    Finding { severity: Severity::Error, code, at: at.to_string(), message }
}

/// What becomes of the traffic of a reference that leads nowhere.
fn consequence(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Http => "its share of the requests gets 500",
        RouteKind::Grpc => "its share of the requests gets UNAVAILABLE",
        RouteKind::Tls | RouteKind::Tcp => "its share of the connections is refused",
    }
}
