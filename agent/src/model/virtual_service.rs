//! Istio's VirtualService, and the rules for connections that it shares with the Gateway API's TCPRoute and TLSRoute.

use super::{HttpRule, Labels, ObjectId, Origin, WeightedDestination};
use crate::vocab::{Hostname, Namespace, SubsetName};
use ipnet::IpNet;
use std::sync::Arc;

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// The Service, fully qualified.
    pub host: Hostname,
    /// The subset, as a DestinationRule names it.
    pub subset: Option<SubsetName>,
    /// The Service port, where it differs from the one the client used.
    pub port: Option<u16>,
    /// Where it stands, for messages.
    pub origin: Origin,
}

/// Conditions on a connection of which all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpMatch {
    /// The address that the client used.
    pub destination_subnets: Vec<IpNet>,
    /// The port that the client used.
    pub port: Option<u16>,
    /// On the client's labels.
    pub source_labels: Labels,
    /// On the client's namespace.
    pub source_namespace: Option<Namespace>,
}

/// Conditions on a TLS connection, of which all must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsMatch {
    /// Names, of which the ClientHello asks for one; `*.suffix` and `*` allowed.
    pub sni_hosts: Vec<Hostname>,
    /// On the connection.
    pub connection: TcpMatch,
}

/// One rule for TLS connections, which are not opened: the first whose matches hold takes the connection.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsRule {
    /// Any of these; never empty.
    pub matches: Vec<TlsMatch>,
    /// Where it goes; empty only where the rule is `broken`.
    pub route: Vec<WeightedDestination>,
    /// Why the rule cannot be applied as written: connections that it takes are refused.
    pub broken: Option<Arc<str>>,
}

/// One TCP rule.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRule {
    /// Any of these.
    pub matches: Vec<TcpMatch>,
    /// Where it goes; empty only where the rule is `broken`.
    pub route: Vec<WeightedDestination>,
    /// Why the rule cannot be applied as written: connections that it takes are refused.
    pub broken: Option<Arc<str>>,
}

/// A VirtualService that is bound to the mesh (gateway `mesh`).
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// The hosts, fully qualified; `*` prefixes allowed.
    pub hosts: Vec<Hostname>,
    /// Namespaces that see it; empty means all. `.` is already resolved.
    pub export_to: Vec<Namespace>,
    /// HTTP rules in order.
    pub http: Vec<HttpRule>,
    /// TLS rules in order; they come before TCP rules.
    pub tls: Vec<TlsRule>,
    /// TCP rules in order.
    pub tcp: Vec<TcpRule>,
}

impl VirtualService {
    /// Everything that its rules lead to, or send copies to.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let http = self.http.iter().flat_map(|rule| rule.route());
        let l4 = self.tls.iter().map(|rule| &rule.route).chain(self.tcp.iter().map(|rule| &rule.route)).flatten();
        let weighted = http.chain(l4);
        let own = self
            .http
            .iter()
            .map(|rule| &rule.filters)
            .chain(self.http.iter().flat_map(|rule| rule.route()).map(|to| &to.filters));
        let mirrors = own.flat_map(|filters| &filters.mirrors).map(|mirror| &mirror.destination);
        weighted.map(|to| &to.destination).chain(mirrors)
    }
}
