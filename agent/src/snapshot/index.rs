//! The objects that configuration consists of now, found by what depends on them, and what became dirty.

use super::Workloads;
use super::authentications::Authentications;
use super::authorization::Authorizations;
use super::delegates::{Delegates, Turn, delegates_of, is_delegate};
use super::many::Many;
use super::origination;
use super::routes::RouteIndex;
use crate::model::authorization_policy::Action;
use crate::model::{
    AuthorizationPolicy, BackendTlsPolicy, Change, Credential, CredentialId, DestinationRule, EndpointSlice,
    ExtensionProviders, Finding, GatewayRoute, Kind, Object, ObjectId, ObjectKey, PeerAuthentication, ReferenceGrant,
    RequestAuthentication, RouteId, Scope, Service, ServiceKind, Sidecar, VirtualService, Workload,
};
use crate::route::host::{covers, patterns};
use crate::vocab::{ClusterName, Hostname, Namespace, WorkloadId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Whose declaration of a service comes first: the local cluster's (`false`), then by cluster and name.
pub(super) type Rank = (bool, ClusterName, ObjectId);

/// All objects.
pub(super) struct Index {
    pub(super) local: ClusterName,
    pub(super) workloads: Workloads,
    /// Pods that have an address, as they themselves say.
    pub(super) claims: Many<IpAddr, WorkloadId, Arc<Workload>>,
    pub(super) services: Many<Hostname, Rank, Arc<Service>>,
    pub(super) slices: Many<Hostname, (ClusterName, ObjectId), Arc<EndpointSlice>>,
    /// Slices that list an address, with the service they are of.
    pub(super) listed: Many<IpAddr, (ClusterName, ObjectId), Hostname>,
    /// Services that have a virtual address.
    pub(super) vips: Many<IpAddr, Rank, Hostname>,
    /// By host pattern.
    pub(super) virtual_services: Many<Hostname, ObjectId, Arc<VirtualService>>,
    /// By host pattern.
    pub(super) destination_rules: Many<Hostname, ObjectId, Arc<DestinationRule>>,
    /// VirtualServices that lead to a host.
    pub(super) leading: Many<Hostname, ObjectId, Arc<VirtualService>>,
    /// By namespace; the mesh-wide ones under `""`.
    pub(super) policies: Many<Namespace, ObjectId, Arc<PeerAuthentication>>,
    pub(super) authorizations: Authorizations,
    pub(super) authentications: Authentications,
    /// By namespace; the mesh-wide ones under `""`.
    pub(super) sidecars: Many<Namespace, ObjectId, Arc<Sidecar>>,
    pub(super) routes: RouteIndex,
    pub(super) delegates: Delegates,
    /// Secrets and ConfigMaps that have keys or certificates.
    pub(super) credentials: imbl::HashMap<CredentialId, Arc<Credential>>,
    /// DestinationRules that speak TLS of their own.
    pub(super) originating: BTreeMap<ObjectId, Arc<DestinationRule>>,
    /// Policies that have external authorizers asked.
    pub(super) asking: BTreeMap<ObjectId, Arc<AuthorizationPolicy>>,
    /// The external authorizers.
    pub(super) providers: Option<Arc<ExtensionProviders>>,
    objects: HashMap<ObjectKey, Stored>,
    dirty: Dirty,
}

/// What has to be compiled again.
#[derive(Default)]
pub(super) struct Dirty {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) vips: BTreeSet<IpAddr>,
    pub(super) backends: BTreeSet<Hostname>,
    pub(super) frontends: BTreeSet<Hostname>,
    pub(super) bindings: BTreeMap<ObjectId, Option<Arc<VirtualService>>>,
    pub(super) virtual_service_hosts: BTreeSet<Hostname>,
    pub(super) destination_rule_hosts: BTreeSet<Hostname>,
    pub(super) policies: BTreeSet<Namespace>,
    pub(super) sidecars: BTreeSet<Namespace>,
    /// Roots that were expanded, with what is wrong.
    pub(super) roots: BTreeMap<ObjectId, Vec<Finding>>,
    /// What roots delegate to.
    pub(super) delegates: BTreeSet<ObjectId>,
    /// Services whose routes of the Gateway API are compiled.
    pub(super) attached: BTreeSet<Hostname>,
    pub(super) routes: BTreeMap<RouteId, Option<Arc<GatewayRoute>>>,
    pub(super) tls: BTreeMap<ObjectId, Option<Arc<BackendTlsPolicy>>>,
    /// DestinationRules whose credentials are looked for again.
    pub(super) originating: BTreeSet<ObjectId>,
    /// Policies whose external authorizers are looked for again.
    pub(super) asking: BTreeSet<ObjectId>,
}

#[derive(Clone)]
enum Stored {
    Workload(Arc<Workload>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    VirtualService(Arc<VirtualService>),
    DestinationRule(Arc<DestinationRule>),
    PeerAuthentication(Arc<PeerAuthentication>),
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    RequestAuthentication(Arc<RequestAuthentication>),
    GatewayRoute(Arc<GatewayRoute>),
    ReferenceGrant(Arc<ReferenceGrant>),
    Sidecar(Arc<Sidecar>),
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    Credential(Arc<Credential>),
    ExtensionProviders(Arc<ExtensionProviders>),
}

impl Index {
    pub(super) fn new(local: ClusterName) -> Self {
        Self {
            local,
            workloads: Workloads::default(),
            claims: Many::default(),
            services: Many::default(),
            slices: Many::default(),
            listed: Many::default(),
            vips: Many::default(),
            virtual_services: Many::default(),
            destination_rules: Many::default(),
            leading: Many::default(),
            policies: Many::default(),
            authorizations: Authorizations::default(),
            authentications: Authentications::default(),
            sidecars: Many::default(),
            routes: RouteIndex::default(),
            delegates: Delegates::default(),
            credentials: imbl::HashMap::new(),
            originating: BTreeMap::new(),
            asking: BTreeMap::new(),
            providers: None,
            objects: HashMap::new(),
            dirty: Dirty::default(),
        }
    }

    /// Takes one change in. Istio's kinds count from the local cluster only, as remote secrets give no others.
    pub(super) fn change(&mut self, change: Change) {
        let (key, new) = match change {
            Change::Upsert(key, object) => (key, Some(Stored::from(object))),
            Change::Remove(key) => (key, None),
        };
        let new = new.filter(|stored| key.cluster == self.local || stored.crosses_clusters());
        let old = match &new {
            Some(stored) => self.objects.insert(key.clone(), stored.clone()),
            None => self.objects.remove(&key),
        };
        if let (Some(old), Some(new)) = (&old, &new)
            && old.same(new)
        {
            return;
        }
        if let Some(old) = old {
            self.index(&key, &old, false);
        }
        if let Some(new) = new {
            self.index(&key, &new, true);
        }
    }

    /// The name that a Service stands for, if it is only that.
    pub(super) fn alias(&self, host: &Hostname) -> Option<&Hostname> {
        match &self.services.values(host).next()?.kind {
            ServiceKind::Alias(target) => Some(target),
            ServiceKind::Virtual | ServiceKind::Headless => None,
        }
    }

    /// What became dirty since this was last asked.
    pub(super) fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// Everything that is covered by a host pattern and has a Service.
    fn covered(&self, pattern: &Hostname) -> Vec<Hostname> {
        if !pattern.as_str().starts_with('*') {
            return vec![pattern.clone()];
        }
        self.services.keys().filter(|host| covers(pattern.as_str(), host.as_str())).cloned().collect()
    }

    fn index(&mut self, key: &ObjectKey, object: &Stored, present: bool) {
        match object {
            Stored::Workload(workload) => self.workload(workload, present),
            Stored::Service(service) => self.service(key, service, present),
            Stored::EndpointSlice(slice) => self.slice(key, slice, present),
            Stored::VirtualService(rules) => self.virtual_service(rules, present),
            Stored::DestinationRule(rule) => self.destination_rule(rule, present),
            Stored::PeerAuthentication(policy) => self.policy(policy, present),
            Stored::AuthorizationPolicy(policy) => {
                self.asking(policy, present);
                self.authorizations.policy(policy, present);
            }
            Stored::RequestAuthentication(policy) => self.authentications.set(policy, present),
            Stored::GatewayRoute(route) => self.routes.route(route, present, &mut self.dirty),
            Stored::Sidecar(sidecar) => self.sidecar(sidecar, present),
            Stored::ReferenceGrant(grant) => self.routes.grant(grant, present, &mut self.dirty),
            Stored::Credential(credential) => self.credential(key, credential, present),
            Stored::ExtensionProviders(providers) => {
                self.providers = present.then(|| Arc::clone(providers));
                self.dirty.asking.extend(self.asking.keys().cloned());
            }
            Stored::BackendTlsPolicy(policy) => self.routes.tls(policy, present, &mut self.dirty),
        }
    }

    fn workload(&mut self, workload: &Arc<Workload>, present: bool) {
        if present {
            self.workloads.insert(Arc::clone(workload));
        } else {
            self.workloads.remove(workload);
        }
        if workload.id.cluster == self.local {
            self.authorizations.workload(workload, present);
        }
        for ip in &workload.addresses {
            self.claims.set(ip, &workload.id, present.then(|| Arc::clone(workload)));
            self.dirty.addresses.insert(*ip);
        }
    }

    fn service(&mut self, key: &ObjectKey, service: &Arc<Service>, present: bool) {
        let rank = (key.cluster != self.local, key.cluster.clone(), key.id.clone());
        self.services.set(&service.host, &rank, present.then(|| Arc::clone(service)));
        self.dirty.backends.insert(service.host.clone());
        for ip in &service.addresses {
            self.vips.set(ip, &rank, present.then(|| service.host.clone()));
            self.dirty.vips.insert(*ip);
        }
    }

    fn slice(&mut self, key: &ObjectKey, slice: &Arc<EndpointSlice>, present: bool) {
        let id = (key.cluster.clone(), key.id.clone());
        self.slices.set(&slice.service, &id, present.then(|| Arc::clone(slice)));
        self.dirty.backends.insert(slice.service.clone());
        for address in &slice.addresses {
            self.listed.set(&address.ip, &id, present.then(|| slice.service.clone()));
            self.authorizations.endpoint(&slice.service, address.ip);
        }
    }

    fn virtual_service(&mut self, rules: &Arc<VirtualService>, present: bool) {
        let is_root = delegates_of(rules).next().is_some();
        self.dirty.delegates.extend(delegates_of(rules).cloned());
        if is_delegate(rules) {
            self.dirty.delegates.insert(rules.id.clone());
            for turn in self.delegates.delegate(rules, present) {
                self.turn(turn);
            }
        } else if is_root {
            let turn = self.delegates.root(rules, present);
            self.turn(turn);
        } else {
            self.rules(rules, present);
        }
    }

    fn turn(&mut self, Turn { old, new, found: (root, findings) }: Turn) {
        self.dirty.roots.insert(root, findings);
        if let Some(old) = old {
            self.rules(&old, false);
        }
        if let Some(new) = new {
            self.rules(&new, true);
        }
    }

    fn rules(&mut self, rules: &Arc<VirtualService>, present: bool) {
        let value = || present.then(|| Arc::clone(rules));
        for pattern in &rules.hosts {
            self.virtual_services.set(pattern, &rules.id, value());
            self.dirty.virtual_service_hosts.insert(pattern.clone());
            self.dirty.frontends.extend(self.covered(pattern));
        }
        for to in rules.destinations() {
            self.leading.set(&to.host, &rules.id, value());
        }
        self.dirty.bindings.insert(rules.id.clone(), value());
    }

    fn destination_rule(&mut self, rule: &Arc<DestinationRule>, present: bool) {
        self.destination_rules.set(&rule.host, &rule.id, present.then(|| Arc::clone(rule)));
        self.originating.remove(&rule.id);
        if present && origination::clients(rule).next().is_some() {
            self.originating.insert(rule.id.clone(), Arc::clone(rule));
        }
        self.dirty.originating.insert(rule.id.clone());
        self.dirty.destination_rule_hosts.insert(rule.host.clone());
        self.dirty.backends.extend(self.covered(&rule.host));
    }

    fn credential(&mut self, key: &ObjectKey, credential: &Arc<Credential>, present: bool) {
        let Kind::Credential(kind) = key.kind else { return };
        let id = CredentialId { kind, id: key.id.clone() };
        match present {
            true => self.credentials.insert(id, Arc::clone(credential)),
            false => self.credentials.remove(&id),
        };
        self.dirty.originating.extend(self.originating.keys().cloned());
    }

    fn asking(&mut self, policy: &Arc<AuthorizationPolicy>, present: bool) {
        if matches!(policy.action, Action::Custom(_)) {
            match present {
                true => self.asking.insert(policy.id.clone(), Arc::clone(policy)),
                false => self.asking.remove(&policy.id),
            };
            self.dirty.asking.insert(policy.id.clone());
        }
    }

    fn policy(&mut self, policy: &Arc<PeerAuthentication>, present: bool) {
        let namespace = match policy.scope {
            Scope::Mesh => "".into(),
            Scope::Namespace | Scope::Workload(_) => policy.id.namespace.clone(),
        };
        self.policies.set(&namespace, &policy.id, present.then(|| Arc::clone(policy)));
        self.dirty.policies.insert(namespace);
    }

    fn sidecar(&mut self, sidecar: &Arc<Sidecar>, present: bool) {
        let namespace = match sidecar.scope {
            Scope::Mesh => "".into(),
            Scope::Namespace | Scope::Workload(_) => sidecar.id.namespace.clone(),
        };
        self.sidecars.set(&namespace, &sidecar.id, present.then(|| Arc::clone(sidecar)));
        self.dirty.sidecars.insert(namespace);
    }

    /// The VirtualServices that cover a host, each with its narrowest pattern that does.
    pub(super) fn virtual_services_of(&self, host: &Hostname) -> Vec<(Hostname, Arc<VirtualService>)> {
        let mut found: BTreeMap<ObjectId, (Hostname, Arc<VirtualService>)> = BTreeMap::new();
        for pattern in patterns(host) {
            for (id, rules) in self.virtual_services.iter(&pattern) {
                found.entry(id.clone()).or_insert_with(|| (pattern.clone(), Arc::clone(rules)));
            }
        }
        found.into_values().collect()
    }

    /// The DestinationRules that cover a host.
    pub(super) fn destination_rules_of(&self, host: &Hostname) -> Vec<Arc<DestinationRule>> {
        let found = patterns(host);
        found.flat_map(|pattern| self.destination_rules.values(&pattern).cloned().collect::<Vec<_>>()).collect()
    }
}

impl Stored {
    fn crosses_clusters(&self) -> bool {
        matches!(self, Self::Workload(_) | Self::Service(_) | Self::EndpointSlice(_))
    }

    /// Whether nothing changed. Rules hold regular expressions, which do not compare: they always count as changed.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Workload(one), Self::Workload(other)) => one == other,
            (Self::Service(one), Self::Service(other)) => one == other,
            (Self::EndpointSlice(one), Self::EndpointSlice(other)) => one == other,
            (Self::AuthorizationPolicy(one), Self::AuthorizationPolicy(other)) => one == other,
            (Self::RequestAuthentication(one), Self::RequestAuthentication(other)) => one == other,
            (Self::GatewayRoute(one), Self::GatewayRoute(other)) => one == other,
            (Self::ReferenceGrant(one), Self::ReferenceGrant(other)) => one == other,
            (Self::Sidecar(one), Self::Sidecar(other)) => one == other,
            (Self::BackendTlsPolicy(one), Self::BackendTlsPolicy(other)) => one == other,
            (Self::Credential(one), Self::Credential(other)) => one == other,
            (Self::ExtensionProviders(one), Self::ExtensionProviders(other)) => one == other,
            _ => false,
        }
    }
}

impl From<Object> for Stored {
    fn from(object: Object) -> Self {
        match object {
            Object::Workload(one) => Self::Workload(Arc::new(one)),
            Object::Service(one) => Self::Service(Arc::new(one)),
            Object::EndpointSlice(one) => Self::EndpointSlice(Arc::new(one)),
            Object::VirtualService(one) => Self::VirtualService(Arc::new(one)),
            Object::DestinationRule(one) => Self::DestinationRule(Arc::new(one)),
            Object::PeerAuthentication(one) => Self::PeerAuthentication(Arc::new(one)),
            Object::AuthorizationPolicy(one) => Self::AuthorizationPolicy(Arc::new(one)),
            Object::RequestAuthentication(one) => Self::RequestAuthentication(Arc::new(one)),
            Object::GatewayRoute(one) => Self::GatewayRoute(Arc::new(one)),
            Object::ReferenceGrant(one) => Self::ReferenceGrant(Arc::new(one)),
            Object::Sidecar(one) => Self::Sidecar(Arc::new(one)),
            Object::BackendTlsPolicy(one) => Self::BackendTlsPolicy(Arc::new(one)),
            Object::Credential(one) => Self::Credential(Arc::new(one)),
            Object::ExtensionProviders(one) => Self::ExtensionProviders(Arc::new(one)),
        }
    }
}
