//! Finds the edge of a connection without touching its twenty labels, and forgets edges that nobody needs.
//!
//! Two keys lead to an edge. The first is made of pointers to what the snapshot shares, so a hit costs one hash of a
//! few words and the Service's name. A miss (a new pod, or a pod whose object changed) renders the labels and finds
//! the edge by them: the pods of one Deployment share an edge. Weak pointers keep an address from being reused while
//! a key holds it.
//!
//! Cardinality is bounded: an edge is dropped when the pods that led to it are gone and it was idle for
//! `GONE_AFTER`; beyond `MAX_EDGES`, new edges are counted under `unknown` until old ones are dropped.

use super::edge::{Edge, Ends};
use super::record::{Party, Security};
use crate::model::Workload;
use crate::vocab::{Direction, Hostname, SpiffeId};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long the last values of an edge stay to be scraped after its workloads are gone.
pub const GONE_AFTER: Duration = Duration::from_secs(300);

/// How many edges there may be: about 3 KB each with one TCP and one request series, so 60 MB.
pub const MAX_EDGES: usize = 20_000;

/// Who a party proved to be, without copying a name in the usual case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Proven {
    No,
    AsWorkload,
    As(SpiffeId),
}

#[derive(Clone, Debug)]
struct PartyKey {
    workload: Weak<Workload>,
    proven: Proven,
}

impl PartyKey {
    fn of(party: Option<&Party>) -> Self {
        let workload = party.and_then(|party| party.workload.as_ref());
        let proven = match party.and_then(|party| party.principal.as_ref()) {
            None => Proven::No,
            Some(id) if workload.is_some_and(|workload| workload.identity == *id) => Proven::AsWorkload,
            Some(id) => Proven::As(id.clone()),
        };
        Self { workload: workload.map_or_else(Weak::new, Arc::downgrade), proven }
    }

    /// Whether it names a workload that no snapshot and no connection has any more.
    fn gone(&self) -> bool {
        !self.workload.ptr_eq(&Weak::new()) && self.workload.strong_count() == 0
    }
}

impl PartialEq for PartyKey {
    fn eq(&self, other: &Self) -> bool {
        self.workload.ptr_eq(&other.workload) && self.proven == other.proven
    }
}

impl Eq for PartyKey {}

impl Hash for PartyKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.workload.as_ptr().hash(state);
        self.proven.hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    direction: Direction,
    source: PartyKey,
    destination: PartyKey,
    service: Option<Hostname>,
    security: Option<Security>,
}

impl Key {
    fn of(ends: &Ends<'_>) -> Self {
        Self {
            direction: ends.direction,
            source: PartyKey::of(ends.source),
            destination: PartyKey::of(ends.destination),
            service: ends.service.map(|service| service.host.clone()),
            security: ends.security,
        }
    }
}

#[derive(Debug)]
struct Known {
    edge: Arc<Edge>,
    last_used: Instant,
}

#[derive(Debug, Default)]
struct Tables {
    by_key: HashMap<Key, Arc<Edge>>,
    by_labels: HashMap<String, Known>,
}

/// All edges.
#[derive(Debug)]
pub struct Edges {
    tables: RwLock<Tables>,
    limit: usize,
}

impl Edges {
    /// None yet, and at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self { tables: RwLock::default(), limit }
    }

    /// The edge between two ends.
    pub fn find(&self, ends: &Ends<'_>) -> Arc<Edge> {
        let key = Key::of(ends);
        if let Some(edge) = self.tables.read().by_key.get(&key) {
            return edge.clone();
        }
        self.make(key, ends)
    }

    fn make(&self, key: Key, ends: &Ends<'_>) -> Arc<Edge> {
        let labels = ends.labels();
        let mut tables = self.tables.write();
        let full = tables.by_labels.len() >= self.limit && !tables.by_labels.contains_key(labels.as_str());
        if full {
            drop(tables);
            return self.unknown(ends.direction);
        }
        let known = tables
            .by_labels
            .entry(labels.as_str().to_owned())
            .or_insert_with(|| Known { edge: Arc::new(Edge::new(labels)), last_used: Instant::now() });
        let edge = known.edge.clone();
        tables.by_key.insert(key, edge.clone());
        edge
    }

    /// Where edges beyond the limit are counted: two more at most.
    fn unknown(&self, direction: Direction) -> Arc<Edge> {
        let ends = Ends { direction, source: None, destination: None, service: None, security: None };
        let labels = ends.labels();
        let mut tables = self.tables.write();
        let known = tables
            .by_labels
            .entry(labels.as_str().to_owned())
            .or_insert_with(|| Known { edge: Arc::new(Edge::new(labels)), last_used: Instant::now() });
        known.edge.clone()
    }

    /// Every edge.
    pub fn all(&self) -> Vec<Arc<Edge>> {
        self.tables.read().by_labels.values().map(|known| known.edge.clone()).collect()
    }

    /// Forgets keys of workloads that are gone, then edges that nothing leads to and that were idle since `now`
    /// minus `GONE_AFTER`.
    pub fn sweep(&self, now: Instant) {
        let mut tables = self.tables.write();
        tables.by_key.retain(|key, _| !key.source.gone() && !key.destination.gone());
        for known in tables.by_labels.values_mut() {
            if known.edge.take_used() {
                known.last_used = now;
            }
        }
        // The one reference is the table's own: neither a key nor a connection has the edge.
        tables.by_labels.retain(|_, known| {
            Arc::strong_count(&known.edge) > 1 || now.saturating_duration_since(known.last_used) < GONE_AFTER
        });
    }
}
