//! Whether what a route refers to is there, and may be referred to.

use crate::model::gateway_route::{RankedRule, RouteRules};
use crate::model::http_rule::{HttpAction, Mirror};
use crate::model::service::ServiceKind;
use crate::model::{Destination, GatewayRoute, Origin, RouteId, Service, WeightedDestination};
use crate::route::Backends;
use crate::snapshot::index::Index;
use crate::vocab::Hostname;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that references lead to.
#[derive(Clone, Copy)]
pub(in crate::snapshot) struct World<'a> {
    pub(in crate::snapshot) index: &'a Index,
    pub(in crate::snapshot) backends: &'a HashMap<Hostname, Arc<Backends>>,
}

/// A reference that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Problem {
    /// For `ResolvedRefs`.
    pub(super) reason: &'static str,
    /// For findings; none where the source has said it.
    pub(super) code: Option<&'static str>,
    /// What it is.
    pub(super) what: Arc<str>,
    /// Where it stands.
    pub(super) at: Origin,
}

/// A Service's name and namespace, from its host name.
pub(super) fn service(host: &Hostname) -> (&str, &str) {
    let mut labels = host.as_str().splitn(3, '.');
    (labels.next().unwrap_or_default(), labels.next().unwrap_or_default())
}

/// A route whose references were followed.
pub(super) struct Resolved<'a> {
    /// The route as it is written.
    pub(super) route: &'a Arc<GatewayRoute>,
    /// Its rules, in which what leads nowhere is broken.
    pub(super) rules: RouteRules,
    /// Why.
    pub(super) problems: Vec<Problem>,
}

/// Follows the references of a route that is attached to a Service.
pub(super) fn resolve<'a>(route: &'a Arc<GatewayRoute>, parent: &Hostname, world: World<'_>) -> Resolved<'a> {
    let mut rules = route.rules.clone();
    let mut references = References { world, route: &route.id, parent, problems: Vec::new() };
    match &mut rules {
        RouteRules::Requests(rules) => rules.iter_mut().for_each(|rule| references.resolve_http(rule)),
        RouteRules::Tls(rules) => rules.iter_mut().for_each(|rule| references.resolve(&mut rule.route)),
        RouteRules::Tcp(rules) => rules.iter_mut().for_each(|rule| references.resolve(&mut rule.route)),
    }
    Resolved { route, rules, problems: references.problems }
}

struct References<'a> {
    world: World<'a>,
    route: &'a RouteId,
    parent: &'a Hostname,
    problems: Vec<Problem>,
}

impl References<'_> {
    fn resolve_http(&mut self, ranked: &mut RankedRule) {
        if let Some(what) = &ranked.unresolved {
            self.unresolved(what, &ranked.rule.origin);
        }
        if let HttpAction::Forward(route) = &mut ranked.rule.action {
            self.resolve(route);
        }
        self.resolve_mirrors(&mut ranked.rule.filters.mirrors);
    }

    fn resolve(&mut self, route: &mut [WeightedDestination]) {
        for to in route {
            self.resolve_mirrors(&mut to.filters.mirrors);
            to.broken = self.broken(&to.destination, to.broken.take());
        }
    }

    /// Something that leads nowhere, which the source has said.
    fn unresolved(&mut self, what: &Arc<str>, at: &Origin) {
        self.add(Problem { reason: "InvalidKind", code: None, what: Arc::clone(what), at: at.clone() });
    }

    fn resolve_mirrors(&mut self, mirrors: &mut [Mirror]) {
        for mirror in mirrors {
            mirror.broken = self.broken(&mirror.destination, mirror.broken.take());
        }
    }

    fn broken(&mut self, to: &Destination, broken: Option<Arc<str>>) -> Option<Arc<str>> {
        if let Some(what) = broken {
            self.unresolved(&what, &to.origin);
            return Some(what);
        }
        let (reason, code, what) = self.fault(to)?;
        let what: Arc<str> = what.into();
        self.add(Problem { reason, code: Some(code), what: Arc::clone(&what), at: to.origin.clone() });
        Some(what)
    }

    fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn fault(&self, to: &Destination) -> Option<(&'static str, &'static str, String)> {
        let (name, namespace) = service(&to.host);
        if !self.permitted(name, namespace) {
            let what = format!(
                "no ReferenceGrant in {namespace} lets a {} of {} refer to the Service {name}",
                self.route.kind.as_str(),
                self.route.id.namespace
            );
            return Some(("RefNotPermitted", "not-granted", what));
        }
        if let Some(Service { kind: ServiceKind::Alias(_), .. }) = declared(self.world.index, &to.host) {
            let what = format!("the Service {name} of {namespace} is of type ExternalName, which no route may lead to");
            return Some(("InvalidKind", "invalid-kind", what));
        }
        let Some(backends) = self.world.backends.get(&to.host) else {
            return Some((
                "BackendNotFound",
                "missing-host",
                format!("no cluster has a Service {name} in {namespace}"),
            ));
        };
        let port = to.port.filter(|port| backends.port(*port).is_none())?;
        let what = format!("the Service {name} of {namespace} has no port {port}");
        Some(("BackendNotFound", "missing-port", what))
    }

    /// A route may lead to Services of its own namespace, and of that of its parent: who sends to the parent is there
    /// already. Everywhere else a grant has to let it.
    fn permitted(&self, name: &str, namespace: &str) -> bool {
        namespace == self.route.id.namespace.as_str()
            || namespace == service(self.parent).1
            || self.world.index.routes.permits(self.route, namespace, name)
    }
}

/// A Service as the first cluster declares it.
pub(super) fn declared<'a>(index: &'a Index, host: &Hostname) -> Option<&'a Service> {
    index.services.values(host).next().map(Arc::as_ref)
}
