//! The decision per connection.

use super::backends::Port;
use super::matching::tcp_rule;
use super::precedence::in_force;
use super::undecided::tls_concerns;
use super::{Backends, Binding, Frontend, HttpTable, Refusal, Undecided, Upstream};
use crate::balance::{Endpoint, Load};
use crate::model::{ObjectId, Workload};
use crate::vocab::{Hostname, OrigDst};
use fastrand::Rng;
use imbl::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where a connection goes.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The mesh does not know the address: it goes there as it is.
    Passthrough,
    /// A pod's own address, with the port that the client used.
    Workload(Endpoint),
    /// A service, with the choice among a rule's destinations made. It has at least one ready endpoint.
    Tcp(Arc<Upstream>),
    /// A service whose requests are routed one by one.
    Http(HttpTable),
    /// A service of which the client's first bytes have to be heard.
    Undecided(Box<Undecided>),
    /// Nowhere.
    Refused(Refusal),
}

/// A pod behind its address.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The pod.
    pub workload: Arc<Workload>,
    /// What it is busy with.
    pub load: Arc<Load>,
}

/// All routes of one snapshot. A clone shares everything with the original.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Pods by each of their addresses.
    pub pods: HashMap<IpAddr, Pod>,
    /// Services by each of their virtual addresses.
    pub vips: HashMap<IpAddr, Arc<Frontend>>,
    /// Headless Services by the addresses of their endpoints, with the service port behind each.
    pub headless: HashMap<SocketAddr, (Arc<Frontend>, u16)>,
    /// Services by host.
    pub hosts: HashMap<Hostname, Arc<Frontend>>,
    /// VirtualServices, bound to the hosts that they lead to.
    pub bindings: HashMap<ObjectId, Arc<Binding>>,
}

impl RouteTable {
    /// The compiled endpoints of a host.
    pub fn backends(&self, host: &Hostname) -> Option<&Arc<Backends>> {
        self.hosts.get(host).map(|frontend| frontend.backends())
    }
}

/// Where a connection of a workload to this address goes.
pub fn resolve(table: &RouteTable, source: &Workload, dst: OrigDst, rng: &mut Rng) -> Plan {
    if let Some((frontend, number)) = table.headless.get(&dst.socket())
        && let Some(port) = frontend.backends().port(*number)
    {
        return service(table, (frontend, port), (source, dst), rng);
    }
    if let Some(pod) = table.pods.get(&dst.ip()) {
        return Plan::Workload(pod.endpoint(dst.socket()));
    }
    let Some(frontend) = table.vips.get(&dst.ip()) else {
        return Plan::Passthrough;
    };
    match frontend.backends().port(dst.port()) {
        Some(port) => service(table, (frontend, port), (source, dst), rng),
        None => Plan::Refused(frontend.no_such_port(dst.port())),
    }
}

/// Where a connection to a service's port goes, by the rules that are in force for the client.
fn service(
    table: &RouteTable,
    (frontend, port): (&Frontend, &Port),
    (source, dst): (&Workload, OrigDst),
    rng: &mut Rng,
) -> Plan {
    // Rules speak of the service's port; whoever uses an address of a headless Service uses the pod's.
    let used = OrigDst::new(SocketAddr::new(dst.ip(), port.number()));
    let whole = frontend.backends().upstream(source, port, None).unwrap_or_else(|| Arc::clone(&port.whole));
    let rules = in_force(table, frontend, port, &source.id.pod.namespace);
    let protocol = port.whole.protocol;
    // A policy may ask for requests where no rule does.
    let by_request = rules.requests.is_some() || (rules.connections.is_none() && whole.wants_requests());
    let http = by_request.then(|| HttpTable { whole: Arc::clone(&whole), binding: rules.requests.cloned() });
    if let Some(table) = http.as_ref().filter(|_| protocol.is_http()) {
        return Plan::Http(table.clone());
    }
    let by_rule = rules.connections.and_then(|binding| split(binding, &whole, (source, used), rng));
    let tcp_ruled = by_rule.is_some();
    let otherwise = by_rule.unwrap_or_else(|| to(&whole));
    let tls = rules.connections.filter(|binding| !protocol.is_http() && tls_concerns(binding, source, used)).cloned();
    match (&http, &tls) {
        (None, None) => otherwise,
        _ => Plan::Undecided(Box::new(Undecided { http, tls, whole, used, otherwise, tcp_ruled })),
    }
}

/// The destination by the first TCP rule that takes the connection; if none does it is the service itself, as in Istio.
fn split(binding: &Binding, whole: &Arc<Upstream>, (source, dst): (&Workload, OrigDst), rng: &mut Rng) -> Option<Plan> {
    let mut rules = binding.rules.tcp.iter().zip(&binding.tcp);
    let (_, action) = rules.find(|(rule, _)| tcp_rule(rule, source, dst))?;
    Some(match action.choose(source, &whole.service, rng) {
        Ok(upstream) => Plan::Tcp(upstream),
        Err(refusal) => Plan::Refused(refusal),
    })
}

fn to(upstream: &Arc<Upstream>) -> Plan {
    let upstream = Arc::clone(upstream);
    if upstream.group.is_empty() {
        return Plan::Refused(Refusal::NoHealthyEndpoints { upstream });
    }
    Plan::Tcp(upstream)
}

impl Pod {
    /// The pod at one of its ports.
    pub fn endpoint(&self, address: SocketAddr) -> Endpoint {
        Endpoint::new(address, Some(Arc::clone(&self.workload)), Arc::clone(&self.load))
    }
}
