//! The table of open connections: who, where, since when, how many bytes, in which stage.

use super::edge::Edge;
use super::record::{Party, Protocol, Target};
use crate::policy::Report;
use crate::vocab::{Direction, OrigDst, PodId, Stage, Traffic};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// What is learned while a connection runs.
#[derive(Clone, Debug)]
pub struct Details {
    /// The client.
    pub source: Party,
    /// Where it goes.
    pub target: Target,
    /// What it speaks.
    pub protocol: Protocol,
    /// The stage it is in.
    pub stage: Stage,
    /// What policies say of it that decide nothing.
    pub told: Vec<Report>,
}

/// Bytes that the series have already.
#[derive(Debug, Default)]
pub struct Counted {
    /// Where they were counted: set when the connection is established.
    pub edge: Option<Arc<Edge>>,
    request: u64,
    response: u64,
}

/// One open connection.
#[derive(Debug)]
pub struct Live {
    /// Unique in the life of the agent.
    pub id: u64,
    /// Which way.
    pub direction: Direction,
    /// The pod of this node.
    pub pod: PodId,
    /// Where the application wanted to go.
    pub original: OrigDst,
    /// When it was opened, for durations.
    pub opened: Instant,
    /// When it was opened, for people.
    pub since: SystemTime,
    /// Its bytes.
    pub traffic: Arc<Traffic>,
    /// What is known of it.
    pub details: Mutex<Details>,
    /// What of it is in the series.
    pub counted: Mutex<Counted>,
}

impl Live {
    /// What this agent's own pod sent and received so far: what logs and dumps show, as ztunnel's log does.
    pub fn pod_bytes(&self) -> (u64, u64) {
        let (to_server, to_client) = (self.traffic.to_server(), self.traffic.to_client());
        match self.direction {
            Direction::Outbound => (to_server, to_client),
            Direction::Inbound => (to_client, to_server),
        }
    }

    /// Adds to the series what came since the last time; nothing before the connection is established.
    pub fn count_bytes(&self) {
        let mut counted = self.counted.lock();
        let Some(edge) = counted.edge.clone() else { return };
        let (request, response) = (self.traffic.to_server(), self.traffic.to_client());
        if (request, response) == (counted.request, counted.response) {
            return;
        }
        edge.bytes(request.saturating_sub(counted.request), response.saturating_sub(counted.response));
        (counted.request, counted.response) = (request, response);
    }
}

const SHARDS: usize = 16;

/// All open connections. Sharded, so that cores that accept do not wait for each other or for a dump.
#[derive(Debug, Default)]
pub struct Table {
    shards: [Mutex<HashMap<u64, Arc<Live>>>; SHARDS],
    next: AtomicU64,
}

impl Table {
    /// An identifier for a new connection.
    pub fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection.
    pub fn insert(&self, live: Arc<Live>) {
        self.shard(live.id).lock().insert(live.id, live);
    }

    /// Removes a connection.
    pub fn remove(&self, id: u64) {
        self.shard(id).lock().remove(&id);
    }

    /// All of them, in the order in which they were opened.
    pub fn all(&self) -> Vec<Arc<Live>> {
        let shards = self.shards.iter();
        let mut all: Vec<_> = shards.flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect();
        all.sort_unstable_by_key(|live| live.id);
        all
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<Live>>> {
        &self.shards[id as usize % SHARDS]
    }
}

/// An open connection as `/connections` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionRow {
    id: u64,
    direction: Direction,
    pod: String,
    since: String,
    duration_ms: u64,
    stage: Stage,
    protocol: Protocol,
    source: PartyRow,
    original_destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<PartyRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<super::record::Tls>,
    bytes_sent: u64,
    bytes_received: u64,
}

#[derive(Clone, Debug, Serialize)]
struct PartyRow {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
}

impl PartyRow {
    fn of(party: &Party) -> Self {
        Self {
            address: party.address.to_string(),
            workload: party.workload.as_ref().map(|workload| workload.id.to_string()),
            identity: party.principal.as_ref().map(ToString::to_string),
        }
    }
}

impl ConnectionRow {
    /// A connection at this moment. `bytes_sent` is what the pod of this node sent.
    pub fn of(live: &Live) -> Self {
        let details = live.details.lock().clone();
        let target = &details.target;
        let (bytes_sent, bytes_received) = live.pod_bytes();
        Self {
            id: live.id,
            direction: live.direction,
            pod: live.pod.to_string(),
            since: humantime::format_rfc3339_millis(live.since).to_string(),
            duration_ms: u64::try_from(live.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            stage: details.stage,
            protocol: details.protocol,
            source: PartyRow::of(&details.source),
            original_destination: live.original.to_string(),
            destination: target.destination.as_ref().map(PartyRow::of),
            service: target.service.as_ref().map(|service| format!("{}:{}", service.host, service.port)),
            tunnel: target.tunnel.map(|tunnel| tunnel.alpn.name()),
            tunnel_address: target.tunnel.map(|tunnel| tunnel.address.to_string()),
            security: target.security.map(|security| security.as_str()),
            tls: target.tls,
            bytes_sent,
            bytes_received,
        }
    }
}
