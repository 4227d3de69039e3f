//! What nearness decides: which endpoints come first for a client, or in which proportions.

use super::Endpoint;
use super::view::{Lane, Tier};
use crate::model::traffic_policy::LocalityPolicy;
use crate::model::{Distribution, Locality, PortPolicy, Workload};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Destination localities, with the share of each.
type Shares = Vec<(Arc<str>, u32)>;

/// How endpoints are ordered for a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Nearness {
    /// All alike.
    Any,
    /// As the Service prefers.
    Prefer(Distribution),
    /// Shares by destination locality, for clients of a locality.
    Shares(Vec<(Arc<str>, Shares)>),
    /// Nearest first, and which region comes after a client's own.
    Failover(Vec<(Arc<str>, Arc<str>)>),
    /// Those that share more of these labels first.
    Labels(Vec<(Arc<str>, Option<Arc<str>>)>),
}

impl Nearness {
    /// What is in force: the DestinationRule's word, then the Service's, then Istio's default, which like every
    /// failover needs outlier detection: without it nobody would notice that the near ones are down.
    pub fn of(policy: &PortPolicy, distribution: Distribution) -> Self {
        let judged = policy.outlier.is_some();
        let locality = policy.load_balancer.as_ref().and_then(|balancer| balancer.locality.as_ref());
        match locality {
            Some(LocalityPolicy::Off) => Self::Any,
            Some(LocalityPolicy::Distribute(shares)) => Self::Shares(shares.clone()),
            Some(LocalityPolicy::Failover(regions)) if judged => Self::Failover(regions.clone()),
            Some(LocalityPolicy::FailoverPriority(labels)) if judged => Self::Labels(labels.clone()),
            _ if distribution != Distribution::Any => Self::Prefer(distribution),
            _ if judged => Self::Failover(Vec::new()),
            _ => Self::Any,
        }
    }

    /// The labels whose values tell clients apart.
    pub(super) fn labels(&self) -> impl Iterator<Item = &Arc<str>> {
        let labels = if let Self::Labels(labels) = self { labels.as_slice() } else { &[] };
        labels.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key)
    }

    /// The endpoints as a client is to see them.
    pub(super) fn lane(&self, client: &Workload, members: Vec<Arc<Endpoint>>) -> Lane {
        match self {
            Self::Any => Lane::in_order(vec![members]),
            Self::Prefer(distribution) => {
                let hints = Hints::of(&members);
                ranked(members, |endpoint| hints.rank(*distribution, client, endpoint))
            }
            Self::Shares(shares) => shared(shares, client, members),
            Self::Failover(regions) => ranked(members, |endpoint| failover_rank(regions, client, endpoint)),
            Self::Labels(labels) => ranked(members, |endpoint| labels_rank(labels, client, endpoint)),
        }
    }
}

/// Lower ranks first; ranks that nobody has do not count.
fn ranked(members: Vec<Arc<Endpoint>>, rank: impl Fn(&Endpoint) -> usize) -> Lane {
    let mut ranks: BTreeMap<usize, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for endpoint in members {
        ranks.entry(rank(&endpoint)).or_default().push(endpoint);
    }
    Lane::in_order(ranks.into_values().collect())
}

/// Each endpoint belongs to the first destination that takes it in; one that none takes in gets nothing.
fn shared(shares: &[(Arc<str>, Shares)], client: &Workload, members: Vec<Arc<Endpoint>>) -> Lane {
    let Some((_, to)) = shares.iter().find(|(from, _)| takes_in(from, &client.locality)) else {
        return Lane::in_order(vec![members]);
    };
    let mut parts: Vec<Vec<Arc<Endpoint>>> = vec![Vec::new(); to.len()];
    for endpoint in members {
        if let Some(at) = to.iter().position(|(locality, _)| takes_in(locality, &endpoint.place.locality)) {
            parts[at].push(endpoint);
        }
    }
    let tiers = to.iter().zip(parts).filter(|((_, weight), part)| *weight > 0 && !part.is_empty());
    Lane::by_weight(tiers.map(|((_, weight), part)| Tier::new(part, *weight)).collect())
}

/// `region/zone/*`, `region/zone/subzone`, `region` or `*`: what is not said is anything.
fn takes_in(pattern: &str, locality: &Locality) -> bool {
    let parts = pattern.split('/').zip([&locality.region, &locality.zone, &locality.subzone]);
    parts.take_while(|(said, _)| *said != "*").all(|(said, is)| *said == **is)
}

/// As Istio counts: subzone, zone and region alike, then the region that is named for the client's, then the rest.
fn failover_rank(regions: &[(Arc<str>, Arc<str>)], client: &Workload, endpoint: &Endpoint) -> usize {
    let (from, to) = (&client.locality, &endpoint.place.locality);
    if from.region != to.region {
        let next = regions.iter().find(|(region, _)| *region == from.region);
        return if next.is_some_and(|(_, next)| *next == to.region) { 3 } else { 4 };
    }
    match (from.zone == to.zone, from.subzone == to.subzone) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// How many labels, from the first that differs on, are not shared.
fn labels_rank(labels: &[(Arc<str>, Option<Arc<str>>)], client: &Workload, endpoint: &Endpoint) -> usize {
    let shared = |(key, value): &&(Arc<str>, Option<Arc<str>>)| {
        let wanted = value.as_deref().or_else(|| label(client, key));
        let has = endpoint.workload.as_ref().and_then(|workload| label(workload, key));
        wanted.is_some() && wanted == has
    };
    labels.len() - labels.iter().take_while(shared).count()
}

/// A label of a pod, or what Istio would have put there of its surroundings.
pub(super) fn label<'a>(workload: &'a Workload, key: &str) -> Option<&'a str> {
    let known: &str = match key {
        "topology.kubernetes.io/region" => &workload.locality.region,
        "topology.kubernetes.io/zone" => &workload.locality.zone,
        "topology.istio.io/subzone" => &workload.locality.subzone,
        "topology.istio.io/network" => workload.network.as_str(),
        "topology.istio.io/cluster" => workload.id.cluster.as_str(),
        "kubernetes.io/hostname" => workload.node.as_str(),
        _ => "",
    };
    workload.label(key).or(Some(known).filter(|known| !known.is_empty()))
}

/// Which of Kubernetes' hints can be followed: those that every endpoint has.
struct Hints {
    zones: bool,
    nodes: bool,
}

impl Hints {
    fn of(members: &[Arc<Endpoint>]) -> Self {
        let all = |hinted: fn(&Endpoint) -> bool| members.iter().all(|endpoint| hinted(endpoint));
        Self {
            zones: all(|endpoint| !endpoint.place.for_zones.is_empty()),
            nodes: all(|endpoint| !endpoint.place.for_nodes.is_empty()),
        }
    }

    fn rank(&self, distribution: Distribution, client: &Workload, endpoint: &Endpoint) -> usize {
        let (place, from) = (&endpoint.place, &client.locality);
        let same_node = match &place.node {
            _ if self.nodes => place.for_nodes.contains(&client.node),
            Some((cluster, node)) => *cluster == client.id.cluster && *node == client.node,
            None => false,
        };
        let same_zone = match self.zones {
            true => place.for_zones.contains(&from.zone),
            false => !from.zone.is_empty() && place.locality.zone == from.zone,
        };
        let same_region = !from.region.is_empty() && place.locality.region == from.region;
        match (distribution == Distribution::SameNode && same_node, same_zone, same_region) {
            (true, ..) => 0,
            (_, true, _) => 1,
            (_, _, true) => 2,
            _ => 3,
        }
    }
}
