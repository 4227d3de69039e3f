//! One host compiled: its ports, and for each the endpoints of the whole and of every subset.
//!
//! The unit of recompilation: a change of one endpoint compiles the hosts that have it, no other.

use super::host::{ROOT_NAMESPACE, specificity, visible};
use super::{ServiceRef, Upstream};
use crate::balance::{Endpoint, Group};
use crate::model::{AppProtocol, DestinationRule, EndpointSlice, Labels, Service, ServicePort};
use crate::vocab::{Hostname, Namespace, SubsetName};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What one host is compiled from.
pub struct Parts<'a> {
    /// The Service as each cluster declares it, never empty. The first one decides where they differ.
    pub services: Vec<&'a Service>,
    /// Its slices in every cluster.
    pub slices: Vec<&'a EndpointSlice>,
    /// The DestinationRules whose host covers it.
    pub rules: Vec<Arc<DestinationRule>>,
}

/// A compiled host.
#[derive(Debug)]
pub struct Backends {
    host: Hostname,
    namespace: Namespace,
    addresses: Vec<IpAddr>,
    ports: Box<[Port]>,
    rules: Box<[Arc<DestinationRule>]>,
}

/// A compiled port of a host.
#[derive(Debug)]
pub struct Port {
    /// All its endpoints.
    pub whole: Arc<Upstream>,
    /// The subsets, for each of the host's rules in their order.
    pub subsets: Box<[Box<[Arc<Upstream>]>]>,
}

impl Port {
    /// The service port's number.
    pub fn number(&self) -> u16 {
        self.whole.service.port
    }
}

impl Backends {
    /// Compiles a host; `endpoint` knows who is behind an address. None for a host that no cluster declares.
    pub fn compile(parts: &Parts<'_>, endpoint: &mut dyn FnMut(SocketAddr) -> Endpoint) -> Option<Self> {
        let first = *parts.services.first()?;
        let mut rules = parts.rules.clone();
        rules.sort_by_cached_key(|rule| precedence(rule, &first.namespace));
        let mut declared: BTreeMap<u16, &ServicePort> = BTreeMap::new();
        for port in parts.services.iter().flat_map(|service| &service.ports) {
            declared.entry(port.number).or_insert(port);
        }
        let compile = |port: &&ServicePort| {
            let service = Arc::new(ServiceRef {
                host: first.host.clone(),
                namespace: first.namespace.clone(),
                name: Arc::clone(&first.name),
                port: port.number,
            });
            let members = Members::of(parts, port, endpoint);
            Port {
                whole: members.upstream(&service, port.protocol, None),
                subsets: rules.iter().map(|rule| members.subsets(&service, port.protocol, rule)).collect(),
            }
        };
        let ports = declared.values().map(compile).collect();
        let addresses = parts.services.iter().flat_map(|service| service.addresses.iter().copied()).collect();
        let (host, namespace) = (first.host.clone(), first.namespace.clone());
        Some(Self { host, namespace, addresses, ports, rules: rules.into() })
    }

    /// The host.
    pub fn host(&self) -> &Hostname {
        &self.host
    }

    /// The service's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
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

    /// The subset of a port that a client of that namespace means by a name.
    pub fn subset(&self, client: &Namespace, port: &Port, name: &SubsetName) -> Option<Arc<Upstream>> {
        let subsets = &port.subsets[self.rule_for(client)?];
        subsets.iter().find(|upstream| upstream.subset.as_ref() == Some(name)).map(Arc::clone)
    }

    /// The DestinationRule in force for clients of a namespace: theirs, then the service's, then the root
    /// namespace's, then any that is exported to them (Istio's lookup path, and the last for good measure).
    pub fn rule(&self, client: &Namespace) -> Option<&DestinationRule> {
        self.rule_for(client).map(|at| &*self.rules[at])
    }

    fn rule_for(&self, client: &Namespace) -> Option<usize> {
        let seen = |rule: &Arc<DestinationRule>| visible(&rule.export_to, client);
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

/// The endpoints of one port, ordered by address, with whether each is ready.
struct Members(BTreeMap<SocketAddr, (Arc<Endpoint>, bool)>);

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
                let member = members.entry(at).or_insert_with(|| (Arc::new(endpoint(at)), false));
                // Kubernetes may show an address in two slices while it moves between them; either makes it ready.
                member.1 |= address.ready;
            }
        }
        Self(members)
    }

    fn upstream(&self, service: &Arc<ServiceRef>, protocol: AppProtocol, subset: Option<Named<'_>>) -> Arc<Upstream> {
        let belongs = |endpoint: &Endpoint| subset.is_none_or(|(_, labels)| carries(endpoint, labels));
        let members = self.0.values().filter(|(endpoint, _)| belongs(endpoint));
        let ready: Vec<_> =
            members.clone().filter(|(_, ready)| *ready).map(|(endpoint, _)| Arc::clone(endpoint)).collect();
        let unready = members.count() - ready.len();
        Arc::new(Upstream {
            service: Arc::clone(service),
            subset: subset.map(|(name, _)| name.clone()),
            protocol,
            group: Group::new(ready, unready),
        })
    }

    fn subsets(
        &self,
        service: &Arc<ServiceRef>,
        protocol: AppProtocol,
        rule: &DestinationRule,
    ) -> Box<[Arc<Upstream>]> {
        let subsets = rule.subsets.iter().map(|subset| (&subset.name, &subset.labels));
        subsets.map(|subset| self.upstream(service, protocol, Some(subset))).collect()
    }
}

type Named<'a> = (&'a SubsetName, &'a Labels);

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
