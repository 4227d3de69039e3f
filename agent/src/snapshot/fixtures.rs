//! Small meshes for the tests of `route`, `policy` and `snapshot`.

use super::{Assembler, Snapshot, Work};
use crate::model::endpoint::{EndpointAddress, EndpointPort};
use crate::model::*;
use crate::route::{Plan, resolve};
use crate::vocab::*;
use fastrand::Rng;
use std::sync::Arc;

/// The cluster of the agent under test.
pub const LOCAL: &str = "east";

/// A mesh and what its agent makes of it.
pub struct World {
    assembler: Assembler,
    pub snapshot: Arc<Snapshot>,
    pub findings: Vec<Finding>,
    pub rng: Rng,
}

impl World {
    pub fn new(changes: Vec<Change>) -> Self {
        let mut assembler = Assembler::new(LOCAL.into());
        let (snapshot, findings) = assembler.apply(changes);
        Self { assembler, snapshot, findings, rng: Rng::with_seed(42) }
    }

    pub fn apply(&mut self, changes: Vec<Change>) -> Work {
        (self.snapshot, self.findings) = self.assembler.apply(changes);
        self.assembler.work()
    }

    pub fn resolve(&mut self, source: &Workload, dst: &str) -> Plan {
        resolve(&self.snapshot.routes, source, OrigDst::new(dst.parse().unwrap()), &mut self.rng)
    }

    /// What an operator reads: code and place of each finding.
    pub fn codes(&self) -> Vec<String> {
        self.findings.iter().map(|finding| format!("{} {}", finding.code, finding.at)).collect()
    }
}

/// What a plan leads to, as text: kind, host, port, subset, addresses.
pub fn shown(plan: &Plan) -> String {
    match plan {
        Plan::Passthrough => "passthrough".into(),
        Plan::Workload(endpoint) => {
            format!("workload {} {}", endpoint.workload.as_ref().unwrap().id.pod, endpoint.address)
        }
        Plan::Tcp(upstream) => {
            let addresses: Vec<_> = upstream.group.ready().iter().map(|one| one.address.to_string()).collect();
            format!("tcp {}:{} {}", upstream.service.name, upstream.service.port, addresses.join(","))
        }
        Plan::Http(table) => format!("http {}:{}", table.service().name, table.service().port),
        Plan::Undecided(undecided) => {
            let requests = if undecided.requests().is_some() { "requests or " } else { "" };
            format!("undecided: {requests}{}", shown(undecided.otherwise()))
        }
        Plan::Refused(refusal) => format!("refused {} {refusal}", refusal.flag()),
    }
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// `namespace/name` in a cluster.
pub fn pod_in(cluster: &str, id: &str, ip: &str, pairs: &[(&str, &str)]) -> Workload {
    let (namespace, name) = id.split_once('/').unwrap();
    let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/default").parse().unwrap();
    Workload {
        id: WorkloadId { cluster: cluster.into(), pod: PodId { namespace: namespace.into(), name: name.into() } },
        addresses: vec![ip.parse().unwrap()],
        node: "n1".into(),
        network: "".into(),
        identity,
        labels: labels(pairs),
        owner: name.into(),
        canonical_service: name.into(),
        canonical_revision: "latest".into(),
        enrolled: true,
        tunnel: TunnelProtocol::Underpass,
        ready: true,
        ready_since: None,
        locality: Locality::default(),
    }
}

pub fn pod(id: &str, ip: &str, pairs: &[(&str, &str)]) -> Workload {
    pod_in(LOCAL, id, ip, pairs)
}

pub fn host(name: &str) -> Hostname {
    match name.split_once('/') {
        Some((namespace, name)) => workload::service_host(name, namespace, "cluster.local"),
        None => name.into(),
    }
}

/// A Service `namespace/name` with ports `(number, protocol)`; a port's name is `p<number>`.
pub fn service_in(cluster: &str, id: &str, vip: &str, ports: &[(u16, AppProtocol)]) -> Service {
    let (namespace, name) = id.split_once('/').unwrap();
    let port = |(number, protocol): &(u16, AppProtocol)| ServicePort {
        number: *number,
        name: format!("p{number}").into(),
        protocol: *protocol,
    };
    Service {
        cluster: cluster.into(),
        host: host(id),
        namespace: namespace.into(),
        name: name.into(),
        addresses: if vip.is_empty() { vec![] } else { vec![vip.parse().unwrap()] },
        kind: if vip.is_empty() { ServiceKind::Headless } else { ServiceKind::Virtual },
        ports: ports.iter().map(port).collect(),
        labels: Labels::new(),
        affinity: None,
        node_local: false,
        distribution: Distribution::Any,
    }
}

pub fn service(id: &str, vip: &str, ports: &[(u16, AppProtocol)]) -> Service {
    service_in(LOCAL, id, vip, ports)
}

/// A slice of a Service: addresses that start with `!` are not ready; ports `(service port, target port)`.
pub fn slice_in(cluster: &str, service: &str, ips: &[&str], ports: &[(u16, u16)]) -> EndpointSlice {
    let (namespace, name) = service.split_once('/').unwrap();
    let address = |ip: &&str| EndpointAddress::new(ip.trim_start_matches('!').parse().unwrap(), !ip.starts_with('!'));
    let port = |(number, target): &(u16, u16)| EndpointPort { name: format!("p{number}").into(), number: *target };
    EndpointSlice {
        cluster: cluster.into(),
        id: ObjectId { namespace: namespace.into(), name: format!("{name}-1").into() },
        service: host(service),
        addresses: ips.iter().map(address).collect(),
        ports: ports.iter().map(port).collect(),
    }
}

pub fn slice(service: &str, ips: &[&str], ports: &[(u16, u16)]) -> EndpointSlice {
    slice_in(LOCAL, service, ips, ports)
}

pub fn object_id(id: &str) -> ObjectId {
    let (namespace, name) = id.split_once('/').unwrap();
    ObjectId { namespace: namespace.into(), name: name.into() }
}

/// `namespace/name[:port][#subset]` with a weight.
pub fn to(destination: &str, weight: u32) -> WeightedDestination {
    let (rest, subset) = destination.split_once('#').map_or((destination, None), |(a, b)| (a, Some(b.into())));
    let (name, port) = rest.split_once(':').map_or((rest, None), |(a, b)| (a, Some(b.parse().unwrap())));
    let origin = Origin(format!("to {destination}").into());
    WeightedDestination::new(Destination { host: host(name), subset, port, origin }, weight)
}

pub fn http_rule(matches: Vec<HttpMatch>, route: Vec<WeightedDestination>) -> HttpRule {
    HttpRule::forward(matches, route, Origin("a rule".into()))
}

pub fn tcp_rule(matches: Vec<TcpMatch>, route: Vec<WeightedDestination>) -> TcpRule {
    TcpRule { matches, route, broken: None }
}

/// A VirtualService at `id` for hosts, exported to all.
pub fn rules(id: &str, hosts: &[&str], http: Vec<HttpRule>, tcp: Vec<TcpRule>) -> VirtualService {
    VirtualService {
        id: object_id(id),
        origin: Origin(id.into()),
        hosts: hosts.iter().map(|name| host(name)).collect(),
        export_to: vec![],
        http,
        tls: vec![],
        tcp,
    }
}

/// A DestinationRule at `id` whose subsets `(name, version)` select the label `version`.
pub fn subsets(id: &str, of: &str, subsets: &[(&str, &str)]) -> DestinationRule {
    let subset = |(name, version): &(&str, &str)| Subset {
        name: (*name).into(),
        labels: labels(&[("version", version)]),
        policy: TrafficPolicy::default(),
    };
    DestinationRule {
        id: object_id(id),
        origin: Origin(id.into()),
        host: host(of),
        export_to: vec![],
        workload_selector: Labels::default(),
        policy: TrafficPolicy::default(),
        subsets: subsets.iter().map(subset).collect(),
    }
}

pub fn authentication(id: &str, scope: Scope, mode: MtlsMode, ports: &[(u16, MtlsMode)]) -> PeerAuthentication {
    PeerAuthentication {
        id: object_id(id),
        origin: Origin(id.into()),
        scope,
        mode,
        ports: ports.iter().copied().collect(),
    }
}

/// The key of an object as a source would make it. Istio's kinds are of the local cluster.
pub fn key(object: &Object) -> ObjectKey {
    let (cluster, kind, id) = match object {
        Object::Workload(one) => {
            let pod = &one.id.pod;
            let id = ObjectId { namespace: pod.namespace.clone(), name: Arc::clone(&pod.name) };
            (one.id.cluster.clone(), Kind::Workload, id)
        }
        Object::Service(one) => {
            let id = ObjectId { namespace: one.namespace.clone(), name: Arc::clone(&one.name) };
            (one.cluster.clone(), Kind::Service, id)
        }
        Object::EndpointSlice(one) => (one.cluster.clone(), Kind::EndpointSlice, one.id.clone()),
        Object::VirtualService(one) => (LOCAL.into(), Kind::VirtualService, one.id.clone()),
        Object::DestinationRule(one) => (LOCAL.into(), Kind::DestinationRule, one.id.clone()),
        Object::PeerAuthentication(one) => (LOCAL.into(), Kind::PeerAuthentication, one.id.clone()),
        Object::AuthorizationPolicy(one) => (LOCAL.into(), Kind::AuthorizationPolicy, one.id.clone()),
        Object::RequestAuthentication(one) => (LOCAL.into(), Kind::RequestAuthentication, one.id.clone()),
        Object::Sidecar(one) => (LOCAL.into(), Kind::Sidecar, one.id.clone()),
        Object::GatewayRoute(one) => (LOCAL.into(), Kind::Route(one.id.kind), one.id.id.clone()),
        Object::ReferenceGrant(one) => (LOCAL.into(), Kind::ReferenceGrant, one.id.clone()),
        Object::Credential(_) => panic!("a credential has no name of its own"),
        Object::ExtensionProviders(one) => (LOCAL.into(), Kind::Credential(CredentialKind::ConfigMap), one.id.clone()),
        Object::BackendTlsPolicy(one) => (LOCAL.into(), Kind::BackendTlsPolicy, one.id.clone()),
    };
    ObjectKey { cluster, kind, id }
}

/// An object is new or changed.
pub fn put(object: impl Into<Object>) -> Change {
    let object = object.into();
    Change::Upsert(key(&object), object)
}

/// An object is gone.
pub fn gone(object: impl Into<Object>) -> Change {
    Change::Remove(key(&object.into()))
}

macro_rules! object {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Object {
            fn from(one: $kind) -> Self {
                Self::$kind(one)
            }
        })*
    };
}

object!(
    Workload,
    Service,
    EndpointSlice,
    VirtualService,
    DestinationRule,
    PeerAuthentication,
    AuthorizationPolicy,
    RequestAuthentication,
    Sidecar,
    GatewayRoute,
    ReferenceGrant,
    BackendTlsPolicy
);
