//! From changes to the next snapshot: only what depends on a change is compiled again.

use super::aliases::Aliases;
use super::findings::{Findings, Place};
use super::headless::Headless;
use super::index::{Dirty, Index};
use super::routes::status::{self, Statuses};
use super::{Snapshot, authorization, checks, origination, routes};
use crate::balance::{Endpoint, Loads, Standings};
use crate::model::{Change, Finding, OutboundMode, Workload};
use crate::policy::PolicyTable;
use crate::route::backends::{Context, Parts};
use crate::route::frontend::Candidate;
use crate::route::{Attached, Backends, Binding, Frontend, Pod, RouteTable};
use crate::vocab::{ClusterName, Hostname, Namespace};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Owns the configuration and compiles it.
pub struct Assembler {
    generation: u64,
    index: Index,
    backends: HashMap<Hostname, Arc<Backends>>,
    attached: HashMap<Hostname, Arc<Attached>>,
    routes: RouteTable,
    policies: PolicyTable,
    statuses: Statuses,
    aliases: Aliases,
    headless: Headless,
    loads: Loads,
    standings: Standings,
    findings: Findings,
    work: Work,
}

/// What one [`Assembler::apply`] compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Hosts whose endpoints were grouped.
    pub backends: usize,
    /// Hosts whose rules were ordered.
    pub frontends: usize,
    /// VirtualServices whose destinations were looked up.
    pub bindings: usize,
    /// Services whose routes of the Gateway API were merged.
    pub attached: usize,
    /// Layers of AuthorizationPolicies that became others: of the mesh, of namespaces, of workloads.
    pub layers: usize,
}

impl Assembler {
    /// Nothing configured.
    pub fn new(local: ClusterName) -> Self {
        Self {
            generation: 0,
            index: Index::new(local.clone()),
            backends: HashMap::new(),
            attached: HashMap::new(),
            routes: RouteTable::default(),
            policies: PolicyTable::new(local),
            statuses: Statuses::default(),
            aliases: Aliases::default(),
            headless: Headless::default(),
            loads: Loads::default(),
            standings: Standings::default(),
            findings: Findings::default(),
            work: Work::default(),
        }
    }

    /// The same, where this is said of connections that leave the mesh and no Sidecar says otherwise.
    #[must_use]
    pub fn with_outbound(mut self, mode: OutboundMode) -> Self {
        self.policies.set_outbound(mode);
        self
    }

    /// The next snapshot, and all that is wrong with it.
    pub fn apply(&mut self, changes: Vec<Change>) -> (Arc<Snapshot>, Vec<Finding>) {
        for change in changes {
            self.index.change(change);
        }
        let mut dirty = self.index.take_dirty();
        self.work = Work::default();
        self.compile_pods(&mut dirty);
        self.compile_backends(&mut dirty);
        self.compile_bindings(&dirty);
        self.compile_attached(&mut dirty);
        self.compile_frontends(&mut dirty);
        self.compile_vips(&dirty);
        self.compile_policies(&dirty);
        self.work.layers = authorization::compile(&mut self.index, &mut self.policies);
        self.check(&dirty);
        self.generation += 1;
        let snapshot = Snapshot {
            generation: self.generation,
            workloads: self.index.workloads.clone(),
            routes: self.routes.clone(),
            policies: self.policies.clone(),
            authentications: self.index.authentications.clone(),
            statuses: self.statuses.clone(),
            credentials: self.index.credentials.clone(),
            providers: self.index.providers.clone(),
        };
        (Arc::new(snapshot), self.findings.list())
    }

    /// What is known of upstreams over all snapshots.
    pub fn standings(&self) -> &Standings {
        &self.standings
    }

    /// What the last `apply` cost.
    pub fn work(&self) -> Work {
        self.work
    }

    fn compile_pods(&mut self, dirty: &mut Dirty) {
        for ip in &dirty.addresses {
            let claims = claims(&self.index, *ip);
            self.findings.set(Place::Pod(*ip), checks::address(*ip, &claims));
            match claims.first() {
                Some(first) => {
                    let workload = Arc::clone(first);
                    let pod = Pod { workload, load: self.loads.of(*ip) };
                    self.routes.pods.insert(*ip, pod)
                }
                None => self.routes.pods.remove(ip),
            };
            dirty.backends.extend(self.index.listed.values(ip).cloned());
        }
    }

    fn compile_backends(&mut self, dirty: &mut Dirty) {
        for host in &dirty.backends {
            let compiled = self.backends_of(host);
            let known = self.backends.contains_key(host);
            let renamed = self.aliases.set(host, self.index.alias(host));
            if compiled.is_none() && !known && !renamed {
                continue;
            }
            self.work.backends += 1;
            for name in self.aliases.names(host) {
                for (id, rules) in self.index.leading.iter(&name) {
                    dirty.bindings.entry(id.clone()).or_insert_with(|| Some(Arc::clone(rules)));
                }
                dirty.attached.extend(self.index.routes.concerned(&name));
                dirty.frontends.insert(name);
            }
            match compiled {
                Some(backends) => self.backends.insert(host.clone(), Arc::new(backends)),
                None => self.backends.remove(host),
            };
        }
    }

    fn backends_of(&mut self, host: &Hostname) -> Option<Backends> {
        let parts = Parts {
            services: self.index.services.values(host).map(Arc::as_ref).collect(),
            slices: self.index.slices.values(host).map(Arc::as_ref).collect(),
            rules: self.index.destination_rules_of(host),
            tls: routes::in_force(&self.index, host),
        };
        let (pods, loads) = (&self.routes.pods, &mut self.loads);
        let mut endpoint = |address: SocketAddr| match pods.get(&address.ip()) {
            Some(pod) => pod.endpoint(address),
            None => Endpoint::new(address, None, loads.of(address.ip())),
        };
        let now = (Instant::now(), SystemTime::now());
        Backends::compile(&parts, &mut Context { endpoint: &mut endpoint, standings: &self.standings, now })
    }

    fn compile_bindings(&mut self, dirty: &Dirty) {
        for (id, rules) in &dirty.bindings {
            let place = Place::Destinations(id.clone());
            let Some(rules) = rules else {
                self.routes.bindings.remove(id);
                self.findings.set(place, Vec::new());
                continue;
            };
            self.work.bindings += 1;
            let find = |host: &Hostname| self.backends.get(self.aliases.end(host)).cloned();
            let (binding, findings) = Binding::new(Arc::clone(rules), find);
            self.routes.bindings.insert(id.clone(), Arc::new(binding));
            self.findings.set(place, findings);
        }
    }

    fn compile_attached(&mut self, dirty: &mut Dirty) {
        let world = routes::World { index: &self.index, backends: &self.backends };
        for host in &dirty.attached {
            let compiled = routes::compile(host, world);
            self.work.attached += 1;
            self.findings.set(Place::Routes(host.clone()), compiled.findings);
            self.statuses.set(status::Place::Service(host.clone()), compiled.standings);
            match compiled.attached {
                Some(attached) => self.attached.insert(host.clone(), Arc::new(attached)),
                None => self.attached.remove(host),
            };
            dirty.frontends.insert(host.clone());
        }
        for (id, route) in &dirty.routes {
            let said = route.as_ref().map(|route| status::unsupported(route)).unwrap_or_default();
            self.statuses.set(status::Place::Route(id.clone()), said);
        }
        for (id, policy) in routes::concerned_policies(&self.index, dirty) {
            let (said, found) = policy.map(|policy| routes::policy_status(&policy, world)).unwrap_or_default();
            self.statuses.set(status::Place::Policy(id.clone()), said);
            self.findings.set(Place::BackendTls(id), found);
        }
    }

    fn compile_frontends(&mut self, dirty: &mut Dirty) {
        for host in &dirty.frontends {
            let place = Place::Host(host.clone());
            let Some(backends) = self.backends.get(host) else {
                self.routes.hosts.remove(host);
                self.headless.replace(host, None, &mut self.routes.headless);
                self.findings.set(place, self.alias_findings(host));
                continue;
            };
            self.work.frontends += 1;
            dirty.vips.extend(backends.addresses());
            let covering = self.index.virtual_services_of(host).into_iter();
            let candidates = covering.map(|(pattern, rules)| Candidate::new(pattern.as_str(), rules)).collect();
            let frontend = Frontend::new(Arc::clone(backends), candidates, self.attached.get(host).cloned());
            let frontend = Arc::new(frontend);
            self.findings.set(place, [checks::protocols(&frontend), routes::displaced(&frontend)].concat());
            self.headless.replace(host, Some(&frontend), &mut self.routes.headless);
            self.routes.hosts.insert(host.clone(), frontend);
        }
    }

    /// What is wrong with a name that stands for another one.
    fn alias_findings(&self, host: &Hostname) -> Vec<Finding> {
        let Some(target) = self.aliases.target(host) else {
            return Vec::new();
        };
        let meant = self.backends.contains_key(self.aliases.end(host));
        let named: Vec<_> = self.index.virtual_services.values(host).collect();
        let led: Vec<_> = self.index.leading.values(host).collect();
        checks::alias((host, target), meant, &named, &led)
    }

    fn compile_vips(&mut self, dirty: &Dirty) {
        for ip in &dirty.vips {
            let claims: Vec<_> = self.index.vips.iter(ip).map(|((_, cluster, _), host)| (cluster, host)).collect();
            self.findings.set(Place::Vip(*ip), checks::virtual_address(*ip, &claims));
            match claims.first().and_then(|(_, host)| self.routes.hosts.get(*host)) {
                Some(frontend) => self.routes.vips.insert(*ip, Arc::clone(frontend)),
                None => self.routes.vips.remove(ip),
            };
        }
    }

    fn compile_policies(&mut self, dirty: &Dirty) {
        for namespace in &dirty.sidecars {
            let sidecars: Vec<_> = self.index.sidecars.values(namespace).cloned().collect();
            self.policies.replace_sidecars(namespace, &sidecars);
        }
        for namespace in &dirty.policies {
            let policies: Vec<_> = self.index.policies.values(namespace).cloned().collect();
            if *namespace == Namespace::from("") {
                self.policies.replace_mesh(&policies);
            } else {
                self.policies.replace_namespace(namespace, &policies);
            }
            let found = checks::policies(&policies.iter().collect::<Vec<_>>());
            self.findings.set(Place::Policies(namespace.clone()), found);
        }
    }

    fn check(&mut self, dirty: &Dirty) {
        for id in &dirty.originating {
            let rule = self.index.originating.get(id);
            let found = rule.map(|rule| origination::findings(rule, &self.index.credentials)).unwrap_or_default();
            self.findings.set(Place::Origination(id.clone()), found);
        }
        for id in &dirty.asking {
            let policy = self.index.asking.get(id);
            let found = policy.and_then(|policy| checks::provider(policy, self.index.providers.as_deref()));
            self.findings.set(Place::Asking(id.clone()), found.into_iter().collect());
        }
        for (root, found) in &dirty.roots {
            self.findings.set(Place::Root(root.clone()), found.clone());
        }
        for id in &dirty.delegates {
            self.findings.set(Place::Delegate(id.clone()), self.index.delegates.unused(id));
        }
        for host in &dirty.virtual_service_hosts {
            let rules: Vec<_> = self.index.virtual_services.values(host).collect();
            self.findings.set(Place::VirtualServices(host.clone()), checks::virtual_services(host, &rules));
        }
        for host in &dirty.destination_rule_hosts {
            let rules: Vec<_> = self.index.destination_rules.values(host).collect();
            self.findings.set(Place::DestinationRules(host.clone()), checks::destination_rules(host, &rules));
        }
    }
}

/// The pods that have an address: the local cluster's first, then a ready one, then by name.
fn claims(index: &Index, ip: IpAddr) -> Vec<&Arc<Workload>> {
    let mut claims: Vec<_> = index.claims.values(&ip).collect();
    claims.sort_by_key(|workload| (workload.id.cluster != index.local, !workload.ready));
    claims
}
