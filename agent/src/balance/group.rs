//! The endpoints of one upstream, compiled for picking.

use super::nearness::Nearness;
use super::outlier::Judge;
use super::view::{Class, Lane, View};
use super::warmup::Warming;
use super::{Caller, Endpoint, Standing};
use crate::model::traffic_policy::Algorithm;
use crate::model::{Distribution, PortPolicy};
use arc_swap::ArcSwap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Kinds of clients whose views are kept at once. Those of one node are mostly of one kind.
const VIEWS: usize = 64;

/// What a Service says of the choice among its endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServicePolicy {
    /// How long a client keeps its endpoint.
    pub affinity: Option<Duration>,
    /// Whether only endpoints of the client's node are used.
    pub node_local: bool,
    /// Which endpoints are preferred.
    pub distribution: Distribution,
}

/// What decides how a group's endpoints are picked.
pub struct Setting<'a> {
    /// What the DestinationRule says.
    pub policy: &'a PortPolicy,
    /// What the Service says.
    pub service: ServicePolicy,
    /// What is known from snapshots before.
    pub standing: &'a Arc<Standing>,
    /// Now, by both clocks: pods say their age by the wall's.
    pub now: (Instant, SystemTime),
}

/// The endpoints of one port of a host, or of a subset of it, that take traffic.
#[derive(Debug)]
pub struct Group {
    members: Arc<[Arc<Endpoint>]>,
    unready: usize,
    pub(super) algorithm: Algorithm,
    pub(super) standing: Arc<Standing>,
    pub(super) sticky: Option<Duration>,
    /// When the last of them has its full share.
    pub(super) warm_at: Option<Instant>,
    /// Below so many healthy per cent, those that are out are used too.
    pub(super) min_health: u32,
    nearness: Nearness,
    node_local: bool,
    /// What clients of IPv4 and IPv6 see where nearness does not matter.
    flat: [Lane; 2],
    views: ArcSwap<Vec<Arc<View>>>,
}

impl Default for Group {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl Group {
    /// A group without any policy.
    pub fn new(ready: Vec<Arc<Endpoint>>, unready: usize) -> Self {
        let (policy, standing) = (PortPolicy::default(), Arc::default());
        let now = (Instant::now(), SystemTime::UNIX_EPOCH);
        let setting = Setting { policy: &policy, service: ServicePolicy::default(), standing: &standing, now };
        Self::compile(ready, unready, &setting)
    }

    /// A group of the endpoints that take traffic; those that do not are only counted.
    pub fn compile(members: Vec<Arc<Endpoint>>, unready: usize, setting: &Setting<'_>) -> Self {
        let mut members = with_history(members, setting);
        members.sort_by_key(|endpoint| endpoint.address);
        let warm_at = members.iter().filter_map(|endpoint| endpoint.warming).map(|warming| warming.end()).max();
        let members: Arc<[Arc<Endpoint>]> = members.into();
        let flat = [true, false].map(|v4| Lane::flat(&members, family(&members, v4)));
        let balancer = setting.policy.load_balancer.as_ref();
        let algorithm = balancer.map_or(Algorithm::default(), |balancer| balancer.algorithm.clone());
        let keyed = matches!(algorithm, Algorithm::ConsistentHash { .. });
        Self {
            unready,
            standing: Arc::clone(setting.standing),
            sticky: setting.service.affinity.filter(|_| !keyed),
            algorithm,
            warm_at: warm_at.filter(|end| *end > setting.now.0),
            min_health: setting.policy.outlier.as_ref().map_or(0, |outlier| outlier.min_health_percent),
            nearness: Nearness::of(setting.policy, setting.service.distribution),
            node_local: setting.service.node_local,
            flat,
            members,
            views: ArcSwap::default(),
        }
    }

    /// The endpoints that take traffic, ordered by address.
    pub fn ready(&self) -> &[Arc<Endpoint>] {
        &self.members
    }

    /// The endpoint that has this address.
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        let found = self.members.binary_search_by_key(&address, |endpoint| endpoint.address);
        found.ok().map(|at| &self.members[at])
    }

    /// How many more there are that take none now.
    pub fn unready(&self) -> usize {
        self.unready
    }

    /// Whether there is nowhere to go.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.algorithm != Algorithm::Passthrough
    }

    /// What a client sees of it, made when the first of its kind asks.
    pub(super) fn with_lane<T>(&self, caller: &Caller<'_>, then: impl FnOnce(&Lane) -> T) -> T {
        let v4 = caller.used.is_ipv4();
        if self.nearness == Nearness::Any && !self.node_local {
            return then(&self.flat[usize::from(!v4)]);
        }
        let views = self.views.load();
        if let Some(view) = views.iter().find(|view| view.class.is(caller.client, &self.nearness, v4)) {
            return then(&view.lane);
        }
        let class = Class::of(caller.client, &self.nearness, v4);
        let mut seen = self.members[family(&self.members, v4)].to_vec();
        if self.node_local {
            seen.retain(|endpoint| class.shares_node(endpoint));
        }
        let view = Arc::new(View { lane: self.nearness.lane(caller.client, seen), class });
        self.views.rcu(|views| {
            let kept = views.iter().skip((views.len() + 1).saturating_sub(VIEWS));
            kept.cloned().chain([Arc::clone(&view)]).collect::<Vec<_>>()
        });
        then(&view.lane)
    }
}

/// The members of a family, as Kubernetes has it: an application may listen in one family only. All of them where that
/// family has none, as when only another cluster has endpoints.
fn family(members: &[Arc<Endpoint>], v4: bool) -> std::ops::Range<usize> {
    let split = members.partition_point(|endpoint| endpoint.address.is_ipv4());
    match (v4, split, members.len() - split) {
        (true, 0, _) | (false, _, 0) => 0..members.len(),
        (true, ..) => 0..split,
        (false, ..) => split..members.len(),
    }
}

/// The endpoints with what is known of each, where the policy asks for it.
fn with_history(members: Vec<Arc<Endpoint>>, setting: &Setting<'_>) -> Vec<Arc<Endpoint>> {
    let outlier = setting.policy.outlier.as_ref();
    let warmup = setting.policy.load_balancer.as_ref().and_then(|balancer| balancer.warmup);
    if outlier.is_none() && warmup.is_none() {
        return members;
    }
    let healths = setting.standing.healths(&members, setting.now.0);
    let ejections = Arc::clone(setting.standing.ejections());
    let judge = outlier.map(|rule| Arc::new(Judge { rule: rule.clone(), members: members.len(), ejections }));
    let aged = members.into_iter().zip(healths).map(|(endpoint, health)| {
        let warming = warmup.map(|curve| Warming { since: since(&endpoint, health.first_seen, setting.now), curve });
        let judged = judge.as_ref().map(|judge| (health, Arc::clone(judge)));
        Arc::new(Endpoint { judged, warming, ..Endpoint::clone(&endpoint) })
    });
    aged.collect()
}

/// Since when an endpoint takes traffic: its pod's word, else since this agent knows it.
fn since(endpoint: &Endpoint, first_seen: Instant, (now, wall): (Instant, SystemTime)) -> Instant {
    let ready_since = endpoint.workload.as_ref().and_then(|workload| workload.ready_since);
    let Some(ready_since) = ready_since else {
        return first_seen;
    };
    let age = wall.duration_since(ready_since).unwrap_or_default();
    now.checked_sub(age).unwrap_or(first_seen)
}

/// The address that a client is known by, of the family that it used.
pub(super) fn own_address(caller: &Caller<'_>) -> Option<IpAddr> {
    let addresses = &caller.client.addresses;
    addresses.iter().find(|ip| ip.is_ipv4() == caller.used.is_ipv4()).or(addresses.first()).copied()
}
