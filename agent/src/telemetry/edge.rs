//! The series of one edge of the mesh's graph: the same reporter, source, destination, Service and security.

use super::exposition::Labels;
use super::histogram::Histogram;
use super::record::{Party, Protocol, RequestRecord, Security, ServiceRef, reporter};
use crate::model::Workload;
use crate::vocab::Direction;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What an edge's labels are made from.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Which reporter.
    pub direction: Direction,
    /// The client.
    pub source: Option<&'a Party>,
    /// The server.
    pub destination: Option<&'a Party>,
    /// The Service.
    pub service: Option<&'a ServiceRef>,
    /// How it was protected.
    pub security: Option<Security>,
}

impl Ends<'_> {
    /// Every label but `request_protocol`, `response_flags`, `response_code` and `grpc_response_status`.
    pub fn labels(&self) -> Labels {
        let labels = Labels::default().with("reporter", reporter(self.direction));
        let labels = party(labels, self.source, &SOURCE);
        let labels = party(labels, self.destination, &DESTINATION);
        let service = self.service;
        labels
            .with("destination_service", or_unknown(service.map(|service| &service.host)))
            .with("destination_service_name", or_unknown(service.map(|service| &service.name)))
            .with("destination_service_namespace", or_unknown(service.map(|service| &service.namespace)))
            .with("connection_security_policy", Security::policy(self.security))
    }
}

/// Label names of one side: workload, namespace, canonical service and revision, app, version, cluster, principal.
type Names = [&'static str; 8];

const SOURCE: Names = [
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_app",
    "source_version",
    "source_cluster",
    "source_principal",
];
const DESTINATION: Names = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_principal",
];

/// `app` and `version` repeat the canonical service and revision, as ztunnel has it.
fn party(labels: Labels, party: Option<&Party>, names: &Names) -> Labels {
    let workload = party.and_then(|party| party.workload.as_deref());
    let of = |value: fn(&Workload) -> &str| workload.map_or("unknown", value);
    let (service, revision) = (of(|w| &w.canonical_service), of(|w| &w.canonical_revision));
    labels
        .with(names[0], of(|w| &w.owner))
        .with(names[1], of(|w| w.id.pod.namespace.as_str()))
        .with(names[2], service)
        .with(names[3], revision)
        .with(names[4], service)
        .with(names[5], revision)
        .with(names[6], of(|w| w.id.cluster.as_str()))
        .with(names[7], or_unknown(party.and_then(|party| party.principal.as_ref())))
}

fn or_unknown<'a>(value: Option<&'a (impl Display + ?Sized)>) -> Unknown<'a, impl Display + ?Sized> {
    Unknown(value)
}

struct Unknown<'a, T: ?Sized>(Option<&'a T>);

impl<T: Display + ?Sized> Display for Unknown<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// TCP counters that are told apart by `response_flags`.
#[derive(Debug, Default)]
pub struct Flagged {
    /// `istio_tcp_connections_closed_total`
    pub closed: AtomicU64,
    /// `istio_tcp_connections_failed_total`
    pub failed: AtomicU64,
}

/// What tells the request series of an edge apart. Values that a server could invent are folded, so that it cannot
/// make series without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    protocol: &'static str,
    status: u16,
    grpc: Option<u16>,
    flag: &'static str,
}

impl RequestKey {
    fn of(record: &RequestRecord) -> Self {
        // RFC 9110 section 15: 100 to 599; gRPC: 0 to 16, and 2 is UNKNOWN.
        let known = |status: &u16| (100..600).contains(status);
        Self {
            protocol: record.protocol.label(),
            status: Some(record.status).filter(known).unwrap_or(0),
            grpc: record.grpc_status.map(|status| if status > 16 { 2 } else { status }),
            flag: record.flag,
        }
    }

    /// The labels that the edge does not have. `grpc_response_status` is empty where it is not gRPC, as in Envoy.
    pub fn labels(&self, edge: &Labels) -> Labels {
        let labels = edge.clone().with("request_protocol", self.protocol).with("response_code", self.status);
        let labels = match self.grpc {
            Some(status) => labels.with("grpc_response_status", status),
            None => labels.with("grpc_response_status", ""),
        };
        labels.with("response_flags", self.flag)
    }
}

/// The four families of requests.
#[derive(Debug, Default)]
pub struct Requests {
    /// `istio_requests_total`
    pub total: AtomicU64,
    /// `istio_request_duration_milliseconds`
    pub duration: Histogram,
    /// `istio_request_bytes`
    pub request_bytes: Histogram,
    /// `istio_response_bytes`
    pub response_bytes: Histogram,
}

impl Requests {
    fn add(&self, record: &RequestRecord) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.duration.observe_thousandths(u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX));
        self.request_bytes.observe(record.request_bytes);
        self.response_bytes.observe(record.response_bytes);
    }
}

/// All series of one edge.
#[derive(Debug, Default)]
pub struct Edge {
    /// What all of them carry.
    pub labels: Labels,
    /// `istio_tcp_connections_opened_total`
    pub opened: AtomicU64,
    /// `istio_tcp_received_bytes_total`: client to server, whichever side reports (istio.io: "received during
    /// request"; ztunnel's metrics.rs and istio/istio#32399).
    pub request: AtomicU64,
    /// `istio_tcp_sent_bytes_total`: server to client, whichever side reports ("sent during response").
    pub response: AtomicU64,
    flagged: RwLock<HashMap<&'static str, Arc<Flagged>>>,
    requests: RwLock<HashMap<RequestKey, Arc<Requests>>>,
    used: AtomicBool,
}

impl Edge {
    /// An edge without traffic.
    pub fn new(labels: Labels) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Counts a connection that was opened.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.touch();
    }

    /// Counts application bytes: client to server, server to client.
    pub fn bytes(&self, request: u64, response: u64) {
        self.request.fetch_add(request, Ordering::Relaxed);
        self.response.fetch_add(response, Ordering::Relaxed);
        self.touch();
    }

    /// The counters of a flag.
    pub fn flagged(&self, flag: &'static str) -> Arc<Flagged> {
        self.touch();
        entry(&self.flagged, &flag)
    }

    /// Counts a request.
    pub fn request(&self, record: &RequestRecord) {
        self.touch();
        let key = RequestKey::of(record);
        if let Some(series) = self.requests.read().get(&key) {
            series.add(record);
            return;
        }
        entry(&self.requests, &key).add(record);
    }

    /// Whether it was used since the last call.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// The TCP series by flag, with their labels.
    pub fn tcp_series(&self) -> Vec<(Labels, Arc<Flagged>)> {
        let flagged = self.flagged.read();
        flagged.iter().map(|(flag, series)| (tcp_labels(&self.labels, flag), series.clone())).collect()
    }

    /// The request series, with their labels.
    pub fn request_series(&self) -> Vec<(Labels, Arc<Requests>)> {
        let requests = self.requests.read();
        requests.iter().map(|(key, series)| (key.labels(&self.labels), series.clone())).collect()
    }

    fn touch(&self) {
        // Read first: a store by every core for every request would pass the cache line around.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

/// Labels of a TCP series. The protocol is `tcp` even where requests are counted too, as ambient mode has it.
pub fn tcp_labels(edge: &Labels, flag: &str) -> Labels {
    edge.clone().with("request_protocol", Protocol::Tcp.label()).with("response_flags", flag)
}

fn entry<K: Copy + Eq + std::hash::Hash, V: Default>(map: &RwLock<HashMap<K, Arc<V>>>, key: &K) -> Arc<V> {
    if let Some(value) = map.read().get(key) {
        return value.clone();
    }
    map.write().entry(*key).or_default().clone()
}
