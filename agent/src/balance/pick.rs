//! Which endpoint a connection or request goes to.
//!
//! The usual case takes no lock and allocates nothing: nobody is out, nothing was tried, the first tier decides.

use super::group::own_address;
use super::table;
use super::view::Tier;
use super::{Endpoint, Group};
use crate::model::Workload;
use crate::model::traffic_policy::Algorithm;
use fastrand::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Draws before the endpoints that are usable are counted instead: with more than half of them usable, one in 65,536
/// picks gets there.
const DRAWS: usize = 16;

/// For whom an endpoint is picked.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client.
    pub client: &'a Workload,
    /// The address that the client used.
    pub used: SocketAddr,
    /// What keeps it at its endpoint ([`crate::route::Upstream::hash`]).
    pub hash: Option<u64>,
    /// When it asks.
    pub now: Instant,
}

/// Which tiers of endpoints are looked through: by nearness they are localities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The one that is drawn, then all others.
    All,
    /// The one that is drawn. Where traffic is shared out among tiers, none is nearer than another: all.
    Near,
    /// Those that nothing was tried in, then none.
    Elsewhere,
}

/// An endpoint of the group for a client, neither out nor tried; none when there is none left. A client that used an
/// endpoint's own address, of a headless Service, has chosen already.
pub fn pick(group: &Group, caller: &Caller<'_>, tried: &[SocketAddr], rng: &mut Rng) -> Option<Arc<Endpoint>> {
    pick_within(group, caller, (tried, Reach::All), rng)
}

/// As [`pick`], of a part of the group.
pub fn pick_within(
    group: &Group,
    caller: &Caller<'_>,
    (tried, reach): (&[SocketAddr], Reach),
    rng: &mut Rng,
) -> Option<Arc<Endpoint>> {
    if let Some(chosen) = group.at(caller.used) {
        return (!tried.contains(&caller.used)).then(|| Arc::clone(chosen));
    }
    group.standing.ejections().look(caller.now);
    if group.algorithm == Algorithm::Passthrough {
        return as_used(group, caller, tried);
    }
    let Some(lasts) = group.sticky else {
        return anew(group, caller, (tried, reach), rng);
    };
    let clients = group.standing.clients();
    let client = own_address(caller)?;
    let kept = clients.endpoint_of(client, caller.now, lasts).filter(|address| !tried.contains(address));
    let picked = kept.and_then(|address| still_there(group, caller, address));
    let picked = picked.or_else(|| anew(group, caller, (tried, reach), rng))?;
    clients.keep(client, picked.address, caller.now, lasts);
    Some(picked)
}

/// The address that the client used, whoever is there.
fn as_used(group: &Group, caller: &Caller<'_>, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
    if tried.contains(&caller.used) {
        return None;
    }
    let unknown = || Arc::new(Endpoint::new(caller.used, None, Arc::default()));
    Some(group.at(caller.used).map_or_else(unknown, Arc::clone))
}

fn still_there(group: &Group, caller: &Caller<'_>, address: SocketAddr) -> Option<Arc<Endpoint>> {
    group.with_lane(caller, |lane| {
        let there = |tier: &Tier| {
            let at = tier.endpoints().binary_search_by_key(&address, |endpoint| endpoint.address).ok()?;
            Some(&tier.endpoints()[at]).filter(|endpoint| !endpoint.is_out()).cloned()
        };
        lane.tiers.iter().find_map(there)
    })
}

fn anew(
    group: &Group,
    caller: &Caller<'_>,
    (tried, reach): (&[SocketAddr], Reach),
    rng: &mut Rng,
) -> Option<Arc<Endpoint>> {
    group.with_lane(caller, |lane| {
        let drawn = || caller.hash.map_or_else(|| rng.f64(), fraction);
        let ejections = group.standing.ejections();
        let (first, panics) = lane.draw(ejections, group.min_health, drawn);
        let all_usable = tried.is_empty() && (panics || ejections.active() == 0);
        let warming = group.warm_at.is_some_and(|end| caller.now < end);
        let mut turn = Turn { group, caller, tried, rng, panics, all_usable, warming };
        let order = std::iter::once(first).chain((0..lane.tiers.len()).filter(|at| *at != first));
        let most = if reach == Reach::Near && !lane.by_weight { 1 } else { usize::MAX };
        let untouched = |tier: &&Tier| reach != Reach::Elsewhere || !tier.has_any(tried);
        for tier in order.take(most).filter_map(|at| lane.tiers.get(at)).filter(untouched) {
            if let Some(at) = turn.within(tier.endpoints(), tier) {
                return Some(Arc::clone(&tier.endpoints()[at]));
            }
        }
        None
    })
}

/// A key's place between 0 and 1, which must not be its place in the table again.
fn fraction(hash: u64) -> f64 {
    (table::hash(&hash.to_le_bytes()) >> 11) as f64 / (1u64 << 53) as f64
}

/// One pick under way.
struct Turn<'a> {
    group: &'a Group,
    caller: &'a Caller<'a>,
    tried: &'a [SocketAddr],
    rng: &'a mut Rng,
    panics: bool,
    all_usable: bool,
    warming: bool,
}

impl Turn<'_> {
    fn within(&mut self, endpoints: &[Arc<Endpoint>], tier: &Tier) -> Option<usize> {
        match &self.group.algorithm {
            Algorithm::LeastRequest | Algorithm::Passthrough => self.lighter_of_two(endpoints),
            Algorithm::Random => self.any(endpoints, None),
            Algorithm::RoundRobin => self.next(endpoints),
            Algorithm::ConsistentHash { table, .. } => {
                let hash = self.caller.hash.unwrap_or_else(|| self.rng.u64(..));
                tier.table(*table).find(hash, |at| self.is_usable(&endpoints[at]))
            }
        }
    }

    fn is_usable(&self, endpoint: &Endpoint) -> bool {
        self.all_usable || ((self.panics || !endpoint.is_out()) && !self.tried.contains(&endpoint.address))
    }

    /// Power of two choices: of two endpoints drawn at random, the less loaded one (Envoy's LEAST_REQUEST).
    fn lighter_of_two(&mut self, endpoints: &[Arc<Endpoint>]) -> Option<usize> {
        let first = self.any(endpoints, None)?;
        let Some(second) = self.any(endpoints, Some(first)) else {
            return Some(first);
        };
        let lighter = if self.warming {
            // Loads count for as much more as an endpoint's share is smaller, or it would get all that it is spared.
            let weighed = |at: usize| endpoints[at].load.open() as f64 / endpoints[at].share(self.caller.now);
            weighed(second) < weighed(first)
        } else {
            endpoints[second].load.open() < endpoints[first].load.open()
        };
        Some(if lighter { second } else { first })
    }

    /// Any usable one but `other`, each as likely; less likely while it warms up.
    fn any(&mut self, endpoints: &[Arc<Endpoint>], other: Option<usize>) -> Option<usize> {
        let count = endpoints.len() - usize::from(other.is_some());
        if count == 0 || endpoints.is_empty() {
            return None;
        }
        let mut last = None;
        for _ in 0..DRAWS {
            let drawn = self.rng.usize(..count);
            let at = drawn + usize::from(other.is_some_and(|other| drawn >= other));
            if !self.is_usable(&endpoints[at]) {
                continue;
            }
            if self.is_taken(&endpoints[at]) {
                return Some(at);
            }
            last = Some(at);
        }
        // All of them are cold, and somebody has to take it.
        if last.is_some() {
            return last;
        }
        let usable = |at: &usize| Some(*at) != other && self.is_usable(&endpoints[*at]);
        let left = (0..endpoints.len()).filter(usable).count();
        let nth = if left == 0 { return None } else { self.rng.usize(..left) };
        (0..endpoints.len()).filter(|at| Some(*at) != other && self.is_usable(&endpoints[*at])).nth(nth)
    }

    /// One after the other, over all that share the group. Who is passed over costs the next one nothing.
    fn next(&mut self, endpoints: &[Arc<Endpoint>]) -> Option<usize> {
        let mut last = None;
        for _ in 0..endpoints.len() {
            let at = self.group.standing.next() % endpoints.len();
            if !self.is_usable(&endpoints[at]) {
                continue;
            }
            if self.is_taken(&endpoints[at]) {
                return Some(at);
            }
            last = Some(at);
        }
        last
    }

    /// Whether an endpoint takes what was drawn for it: always, once it is warm.
    fn is_taken(&mut self, endpoint: &Endpoint) -> bool {
        !self.warming || self.rng.f64() < endpoint.share(self.caller.now)
    }
}
