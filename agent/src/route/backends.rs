//! One host compiled: its ports, and for each the endpoints of the whole and of every subset.
//!
//! The unit of recompilation: a change of one endpoint compiles the hosts that have it, no other.

use super::host::{ROOT_NAMESPACE, specificity, visible};
use super::{ServiceRef, Upstream};
use crate::balance::{Endpoint, Group, ServicePolicy, Setting, Standings, UpstreamKey};
use crate::model::traffic_policy::ClientTls;
use crate::model::{
    AppProtocol, DestinationRule, EndpointSlice, Labels, PortPolicy, Service, ServiceKind, ServicePort, Subset,
    TrafficPolicy, Workload,
};
use crate::vocab::{Hostname, Namespace, SubsetName};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What one host is compiled from.
pub struct Parts<'a> {
    /// The Service as each cluster declares it, never empty. The first one decides where they differ.
    pub services: Vec<&'a Service>,
    /// Its slices in every cluster.
    pub slices: Vec<&'a EndpointSlice>,
    /// The DestinationRules whose host covers it.
    pub rules: Vec<Arc<DestinationRule>>,
    /// TLS to the endpoints by port (BackendTLSPolicy): it replaces what the rules say of TLS.
    pub tls: Vec<(u16, ClientTls)>,
}

/// A compiled host.
#[derive(Debug)]
pub struct Backends {
    host: Hostname,
    namespace: Namespace,
    addresses: Vec<IpAddr>,
    headless: bool,
    ports: Box<[Port]>,
    rules: Box<[Arc<DestinationRule>]>,
}

/// A compiled port of a host.
#[derive(Debug)]
pub struct Port {
    /// All its endpoints.
    pub whole: Arc<Upstream>,
    /// What each of the host's rules makes of it, in their order.
    pub ruled: Box<[Ruled]>,
}

/// A port under one DestinationRule.
#[derive(Debug)]
pub struct Ruled {
    /// All its endpoints.
    pub whole: Arc<Upstream>,
    /// The subsets.
    pub subsets: Box<[Arc<Upstream>]>,
}

/// What compilation asks of the world, and what outlives a snapshot.
pub struct Context<'a> {
    /// Who is behind an address.
    pub endpoint: &'a mut dyn FnMut(SocketAddr) -> Endpoint,
    /// What is known of upstreams.
    pub standings: &'a Standings,
    /// Now, by both clocks.
    pub now: (Instant, SystemTime),
}

impl Port {
    /// The service port's number.
    pub fn number(&self) -> u16 {
        self.whole.service.port
    }
}

impl Backends {
    /// Compiles a host. None for a host that no cluster declares, or that is another
    /// name only.
    pub fn compile(parts: &Parts<'_>, context: &mut Context<'_>) -> Option<Self> {
        let first = *parts.services.first()?;
        if matches!(first.kind, ServiceKind::Alias(_)) {
            return None;
        }
        let mut rules = parts.rules.clone();
        rules.sort_by_cached_key(|rule| precedence(rule, &first.namespace));
        let mut declared: BTreeMap<u16, &ServicePort> = BTreeMap::new();
        for port in parts.services.iter().flat_map(|service| &service.ports) {
            declared.entry(port.number).or_insert(port);
        }
        let wishes =
            ServicePolicy { affinity: first.affinity, node_local: first.node_local, distribution: first.distribution };
        let mut compile = |port: &&ServicePort| {
            let service = Arc::new(ServiceRef {
                host: first.host.clone(),
                namespace: first.namespace.clone(),
                name: Arc::clone(&first.name),
                port: port.number,
            });
            let members = Members::of(parts, port, context.endpoint);
            let tls = parts.tls.iter().find(|(number, _)| *number == port.number).map(|(_, tls)| tls);
            let (protocol, now, standings) = (port.protocol, context.now, context.standings);
            let mut builder = Builder { members, tls, service, protocol, wishes, now, standings };
            let whole = builder.upstream(None, None);
            let ruled = rules.iter().map(|rule| builder.ruled(rule, &whole)).collect();
            Port { whole, ruled }
        };
        let ports = declared.values().map(&mut compile).collect();
        let addresses = parts.services.iter().flat_map(|service| service.addresses.iter().copied()).collect();
        let (host, namespace) = (first.host.clone(), first.namespace.clone());
        let headless = first.kind == ServiceKind::Headless;
        Some(Self { host, namespace, addresses, headless, ports, rules: rules.into() })
    }

    /// The host.
    pub fn host(&self) -> &Hostname {
        &self.host
    }

    /// The service's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Whether clients use the addresses of its endpoints.
    pub fn is_headless(&self) -> bool {
        self.headless
    }

    /// Its virtual addresses, of every cluster.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The DestinationRules that cover it, in order of precedence for clients that have none of their own.
    pub fn rules(&self) -> &[Arc<DestinationRule>] {
        &self.rules
    }

    /// Its ports, by number.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The port of that number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number() == number)
    }

    /// A port, or a subset of it, as a client sees it. None where there is no such subset for it.
    pub fn upstream(&self, client: &Workload, port: &Port, subset: Option<&SubsetName>) -> Option<Arc<Upstream>> {
        let ruled = self.rule_for(client).map(|at| &port.ruled[at]);
        let Some(name) = subset else {
            return Some(Arc::clone(ruled.map_or(&port.whole, |ruled| &ruled.whole)));
        };
        ruled?.subsets.iter().find(|upstream| upstream.subset.as_ref() == Some(name)).cloned()
    }

    /// The DestinationRule in force for clients of a namespace that no rule singles out: theirs, then the service's,
    /// then the root namespace's, then any that is exported to them (Istio's lookup path, and the last for good measure).
    pub fn rule(&self, client: &Namespace) -> Option<&DestinationRule> {
        self.find(client, |rule| rule.workload_selector.is_empty()).map(|at| &*self.rules[at])
    }

    /// The DestinationRule in force for a client.
    pub fn rule_of(&self, client: &Workload) -> Option<&DestinationRule> {
        self.rule_for(client).map(|at| &*self.rules[at])
    }

    /// A rule that selects the client comes before those for everyone; it counts in its own namespace only.
    fn rule_for(&self, client: &Workload) -> Option<usize> {
        let namespace = &client.id.pod.namespace;
        let carried = |(key, value): (&Arc<str>, &Arc<str>)| client.label(key) == Some(&**value);
        let selects = |rule: &DestinationRule| {
            let selector = &rule.workload_selector;
            !selector.is_empty() && rule.id.namespace == *namespace && selector.iter().all(carried)
        };
        self.find(namespace, selects).or_else(|| self.find(namespace, |rule| rule.workload_selector.is_empty()))
    }

    fn find(&self, client: &Namespace, meant: impl Fn(&DestinationRule) -> bool) -> Option<usize> {
        let seen = |rule: &Arc<DestinationRule>| visible(&rule.export_to, client) && meant(rule);
        let own = self.rules.iter().position(|rule| rule.id.namespace == *client && seen(rule));
        own.or_else(|| self.rules.iter().position(seen))
    }
}

/// The order of rules for clients that have none in their own namespace.
fn precedence(rule: &DestinationRule, service: &Namespace) -> impl Ord + use<> {
    let namespace = &rule.id.namespace;
    let distance = match namespace {
        _ if namespace == service => 0,
        _ if namespace.as_str() == ROOT_NAMESPACE => 1,
        _ => 2,
    };
    (distance, Reverse(specificity(rule.host.as_str())), rule.id.clone())
}

/// An endpoint, and whether it takes traffic.
struct Member {
    endpoint: Arc<Endpoint>,
    ready: bool,
    /// It is about to end, and still could.
    leaving: bool,
}

/// The endpoints of one port, by address.
struct Members(BTreeMap<SocketAddr, Member>);

impl Members {
    fn of(parts: &Parts<'_>, port: &ServicePort, endpoint: &mut dyn FnMut(SocketAddr) -> Endpoint) -> Self {
        let mut members = BTreeMap::new();
        for slice in &parts.slices {
            let name = port_name(&parts.services, slice, port);
            let Some(target) = slice.ports.iter().find(|target| target.name == *name) else {
                continue;
            };
            for address in &slice.addresses {
                let at = SocketAddr::new(address.ip, target.number);
                let member = members.entry(at).or_insert_with(|| Member {
                    endpoint: Arc::new(endpoint(at).listed(&slice.cluster, address)),
                    ready: false,
                    leaving: false,
                });
                // Kubernetes may show an address in two slices while it moves between them; either makes it ready.
                member.ready |= address.ready;
                member.leaving |= address.serving && address.terminating;
            }
        }
        Self(members)
    }

    /// Those that take traffic, and how many do not: the ready ones, or those that are about to end and still could
    /// where nothing is ready, as Kubernetes does during a rollout.
    fn taking(&self, belongs: impl Fn(&Endpoint) -> bool) -> (Vec<Arc<Endpoint>>, usize) {
        let all: Vec<&Member> = self.0.values().filter(|member| belongs(&member.endpoint)).collect();
        let any_ready = all.iter().any(|member| member.ready);
        let takes = |member: &&&Member| if any_ready { member.ready } else { member.leaving };
        let taking: Vec<_> = all.iter().filter(takes).map(|member| Arc::clone(&member.endpoint)).collect();
        let others = all.len() - taking.len();
        (taking, others)
    }
}

/// Makes the upstreams of one port.
struct Builder<'a> {
    members: Members,
    tls: Option<&'a ClientTls>,
    service: Arc<ServiceRef>,
    protocol: AppProtocol,
    wishes: ServicePolicy,
    now: (Instant, SystemTime),
    standings: &'a Standings,
}

impl Builder<'_> {
    /// The port under a rule; `bare` is the port without any.
    fn ruled(&mut self, rule: &DestinationRule, bare: &Arc<Upstream>) -> Ruled {
        let says_nothing = TrafficPolicy::effective(&rule.policy, None, self.service.port) == PortPolicy::default();
        let whole = if says_nothing { Arc::clone(bare) } else { self.upstream(Some(rule), None) };
        let subsets = rule.subsets.iter().map(|subset| self.upstream(Some(rule), Some(subset))).collect();
        Ruled { whole, subsets }
    }

    fn upstream(&mut self, rule: Option<&DestinationRule>, subset: Option<&Subset>) -> Arc<Upstream> {
        let belongs = |endpoint: &Endpoint| subset.is_none_or(|subset| carries(endpoint, &subset.labels));
        let (taking, others) = self.members.taking(belongs);
        let policy = rule
            .map(|rule| TrafficPolicy::effective(&rule.policy, subset.map(|subset| &subset.policy), self.service.port));
        let mut policy = policy.unwrap_or_default();
        policy.tls = self.tls.cloned().or(policy.tls);
        let key = UpstreamKey {
            host: self.service.host.clone(),
            port: self.service.port,
            subset: subset.map(|subset| subset.name.clone()),
            rule: rule.map(|rule| rule.id.clone()),
        };
        let standing = self.standings.of(key);
        let setting = Setting { policy: &policy, service: self.wishes, standing: &standing, now: self.now };
        Arc::new(Upstream {
            service: Arc::clone(&self.service),
            subset: subset.map(|subset| subset.name.clone()),
            protocol: self.protocol,
            group: Group::compile(taking, others, &setting),
            policy: Arc::new(policy),
            standing,
        })
    }
}

/// A slice's ports carry the names that its own cluster's Service gives them.
fn port_name<'a>(services: &[&'a Service], slice: &EndpointSlice, port: &'a ServicePort) -> &'a Arc<str> {
    let declared = services.iter().find(|service| service.cluster == slice.cluster);
    let same = declared.and_then(|service| service.ports.iter().find(|own| own.number == port.number));
    &same.unwrap_or(port).name
}

fn carries(endpoint: &Endpoint, labels: &Labels) -> bool {
    labels
        .iter()
        .all(|(key, value)| endpoint.workload.as_ref().is_some_and(|workload| workload.label(key) == Some(&**value)))
}
