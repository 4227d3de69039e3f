//! A group as clients of one kind see it: its endpoints in tiers, by nearness or by share.

use super::nearness::{Nearness, label};
use super::table::Table;
use super::{Endpoint, outlier::Ejections};
use crate::model::traffic_policy::HashTable;
use crate::model::{Locality, Workload};
use crate::vocab::{ClusterName, NodeName};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A tier counts as whole down to 100/140 of its endpoints, and loses in proportion below (Envoy's factor).
const OVERPROVISIONED: usize = 140;

/// What a kind of clients sees.
#[derive(Debug)]
pub struct View {
    pub(super) class: Class,
    pub(super) lane: Lane,
}

/// Clients that are alike as far as nearness goes.
#[derive(Debug)]
pub struct Class {
    v4: bool,
    cluster: ClusterName,
    node: NodeName,
    locality: Locality,
    labels: Box<[Option<Arc<str>>]>,
}

impl Class {
    pub(super) fn of(client: &Workload, nearness: &Nearness, v4: bool) -> Self {
        Self {
            v4,
            cluster: client.id.cluster.clone(),
            node: client.node.clone(),
            locality: client.locality.clone(),
            labels: nearness.labels().map(|key| label(client, key).map(Arc::from)).collect(),
        }
    }

    pub(super) fn is(&self, client: &Workload, nearness: &Nearness, v4: bool) -> bool {
        let mut labels = nearness.labels().zip(&self.labels);
        self.v4 == v4
            && self.node == client.node
            && self.cluster == client.id.cluster
            && self.locality == client.locality
            && labels.all(|(key, value)| label(client, key) == value.as_deref())
    }

    pub(super) fn shares_node(&self, endpoint: &Endpoint) -> bool {
        let node = endpoint.place.node.as_ref();
        node.is_some_and(|(cluster, node)| *cluster == self.cluster && *node == self.node)
    }
}

/// Tiers, to be used one after the other or in proportion.
#[derive(Debug)]
pub struct Lane {
    pub(super) tiers: Box<[Tier]>,
    pub(super) by_weight: bool,
}

impl Lane {
    /// All of a range alike.
    pub(super) fn flat(members: &Arc<[Arc<Endpoint>]>, range: Range<usize>) -> Self {
        let tier = Tier { members: Arc::clone(members), range, ..Tier::new(Vec::new(), 1) };
        Self { tiers: [tier].into(), by_weight: false }
    }

    /// One after the other.
    pub(super) fn in_order(tiers: Vec<Vec<Arc<Endpoint>>>) -> Self {
        Self { tiers: tiers.into_iter().map(|members| Tier::new(members, 1)).collect(), by_weight: false }
    }

    /// In proportion.
    pub(super) fn by_weight(tiers: Vec<Tier>) -> Self {
        Self { tiers: tiers.into(), by_weight: true }
    }

    /// The tier for a draw from `0.0..1.0`, and whether those of it that are out are used as well, because fewer than
    /// `min_health` per cent are in.
    pub(super) fn draw(&self, ejections: &Ejections, min_health: u32, drawn: impl FnOnce() -> f64) -> (usize, bool) {
        let all_in = ejections.active() == 0;
        if all_in && (self.tiers.len() < 2 || !self.by_weight) {
            return (0, false);
        }
        let worth = |tier: &Tier| {
            let healthy = tier.healthy(ejections) * OVERPROVISIONED / tier.endpoints().len().max(1);
            healthy.min(100) * if self.by_weight { tier.weight as usize } else { 1 }
        };
        let total: usize = self.tiers.iter().map(worth).sum();
        // In order, the first tiers take up to a hundred per cent, and nothing is left for those after them.
        let shared = if self.by_weight { total } else { total.min(100) };
        let mut left = (drawn() * shared as f64) as usize;
        let at = self.tiers.iter().position(|tier| match left.checked_sub(worth(tier)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let at = at.unwrap_or(0);
        let panics = |tier: &Tier| tier.healthy(ejections) * 100 < min_health as usize * tier.endpoints().len();
        let short = !all_in && (self.by_weight || total < 100);
        (at, short && self.tiers.get(at).is_some_and(panics))
    }
}

/// Endpoints that are alike for a client.
#[derive(Debug)]
pub struct Tier {
    weight: u32,
    members: Arc<[Arc<Endpoint>]>,
    range: Range<usize>,
    table: OnceLock<Table>,
    /// The version of the ejections, and how many were in then.
    counted: AtomicU64,
}

impl Tier {
    pub(super) fn new(members: Vec<Arc<Endpoint>>, weight: u32) -> Self {
        let range = 0..members.len();
        Self { weight, members: members.into(), range, table: OnceLock::new(), counted: AtomicU64::new(0) }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.members[self.range.clone()]
    }

    /// Whether one of these addresses is among them.
    pub(super) fn has_any(&self, addresses: &[SocketAddr]) -> bool {
        let here = |address| self.endpoints().binary_search_by_key(address, |endpoint| endpoint.address).is_ok();
        addresses.iter().any(here)
    }

    /// The table for consistent hashing, made when it is first asked for.
    pub(super) fn table(&self, kind: HashTable) -> &Table {
        self.table.get_or_init(|| Table::new(kind, self.endpoints()))
    }

    /// How many are not out. Counted once for each change of the ejections.
    pub(super) fn healthy(&self, ejections: &Ejections) -> usize {
        if ejections.active() == 0 {
            return self.endpoints().len();
        }
        // Versions start at 1 when somebody is out: nothing was counted for 0.
        let version = ejections.version() << 32;
        let counted = self.counted.load(Ordering::Relaxed);
        if counted & !0xffff_ffff == version {
            return (counted & 0xffff_ffff) as usize;
        }
        let healthy = self.endpoints().iter().filter(|endpoint| !endpoint.is_out()).count();
        self.counted.store(version | healthy as u64, Ordering::Relaxed);
        healthy
    }
}
