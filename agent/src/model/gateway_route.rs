//! The Gateway API's routes as a mesh reads them (GAMMA), and what lets them cross namespaces.

use super::http_rule::HttpRule;
use super::{Destination, ObjectId, Origin, TcpRule, TlsRule};
use crate::vocab::{Hostname, Namespace};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The kinds of routes. Where several kinds are attached to one port of a Service, the first of them takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// GRPCRoute.
    Grpc,
    /// HTTPRoute.
    Http,
    /// TLSRoute.
    Tls,
    /// TCPRoute.
    Tcp,
}

impl RouteKind {
    /// The kind's name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        }
    }

    /// Whether it routes requests, not connections.
    pub fn routes_requests(self) -> bool {
        matches!(self, Self::Grpc | Self::Http)
    }
}

/// Names a route: routes of different kinds may have one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId {
    /// Its kind.
    pub kind: RouteKind,
    /// Its namespace and name.
    pub id: ObjectId,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// When an object was made, and which version of it this is: for precedence and status. Files seldom say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Its creation.
    pub created: Option<SystemTime>,
    /// The generation of its `spec`.
    pub generation: Option<i64>,
}

impl Age {
    /// Orders older before younger; those that do not say come last.
    pub fn seniority(self) -> (bool, Option<SystemTime>) {
        (self.created.is_none(), self.created)
    }
}

/// A route of the Gateway API that has a parent other than a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRoute {
    /// The object.
    pub id: RouteId,
    /// Where it stands.
    pub origin: Origin,
    /// Its age.
    pub age: Age,
    /// What it is attached to.
    pub parents: Vec<Parent>,
    /// Its rules, in order.
    pub rules: RouteRules,
}

impl GatewayRoute {
    /// The Services that it is attached to; one may be named several times, for several of its ports.
    pub fn services(&self) -> impl Iterator<Item = &Hostname> {
        self.parents.iter().filter_map(|parent| match &parent.target {
            ParentTarget::Service(host) => Some(host),
            ParentTarget::Gateway | ParentTarget::Unsupported => None,
        })
    }

    /// Everything that it sends traffic or copies to.
    pub fn destinations(&self) -> Vec<&Destination> {
        match &self.rules {
            RouteRules::Requests(rules) => rules.iter().flat_map(|ranked| ranked.rule.destinations()).collect(),
            RouteRules::Tls(rules) => rules.iter().flat_map(|rule| &rule.route).map(|to| &to.destination).collect(),
            RouteRules::Tcp(rules) => rules.iter().flat_map(|rule| &rule.route).map(|to| &to.destination).collect(),
        }
    }
}

/// The rules of a route, by what they are for.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteRules {
    /// Of HTTPRoute and GRPCRoute.
    Requests(Vec<RankedRule>),
    /// Of TLSRoute.
    Tls(Vec<TlsRule>),
    /// Of TCPRoute.
    Tcp(Vec<TcpRule>),
}

/// A rule for requests, whose matches are sorted among those of all routes of one parent.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedRule {
    /// The rule; it has at least one match.
    pub rule: HttpRule,
    /// How specific each of its matches is.
    pub ranks: Vec<Rank>,
    /// Why one of its filters leads nowhere: the rule is broken then.
    pub unresolved: Option<Arc<str>>,
}

/// How specific a match is; the greater one is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Of the path; for gRPC the length of the service's name.
    pub path: PathRank,
    /// Whether there is a method (1); for gRPC the length of its name.
    pub method: usize,
    /// How many headers are matched.
    pub headers: usize,
    /// How many query parameters are matched.
    pub query_params: usize,
}

/// How specific a match of a path is. The specification leaves open where patterns stand: here they come after exact
/// paths and before prefixes, because after them they would never be reached beside a rule for `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathRank {
    /// A prefix of this length.
    Prefix(usize),
    /// A pattern of this length.
    Regex(usize),
    /// The whole path.
    Exact,
}

/// What a route is attached to.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// What it refers to.
    pub target: ParentTarget,
    /// The reference as it is written, which status repeats.
    pub reference: ParentReference,
    /// Where it stands.
    pub origin: Origin,
}

/// What a reference to a parent leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum ParentTarget {
    /// A Service, by its host name.
    Service(Hostname),
    /// A gateway or one of its listeners: not for the mesh.
    Gateway,
    /// A kind that routes cannot be attached to here.
    Unsupported,
}

/// A reference to a parent as it is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// The API group, `""` for the core one.
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The namespace, where it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// The name.
    pub name: Arc<str>,
    /// The name of the port that it is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<Arc<str>>,
    /// The port that it is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Who of other namespaces may send traffic to the Services of this one.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceGrant {
    /// The object; its namespace is the one that is opened.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// Routes of these kinds in these namespaces.
    pub from: Vec<(RouteKind, Namespace)>,
    /// To these Services; none is all of them.
    pub to: Vec<Option<Arc<str>>>,
}

impl ReferenceGrant {
    /// Whether a route may refer to a Service of the grant's namespace.
    pub fn permits(&self, route: &RouteId, service: &str) -> bool {
        let from = |(kind, namespace): &(RouteKind, Namespace)| *kind == route.kind && *namespace == route.id.namespace;
        let to = |name: &Option<Arc<str>>| name.as_ref().is_none_or(|name| **name == *service);
        self.from.iter().any(from) && self.to.iter().any(to)
    }
}
