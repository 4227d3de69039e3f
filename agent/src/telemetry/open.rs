//! The record of one connection while it runs: counted and logged exactly once, however it ends.

use super::edge::{Edge, Ends};
use super::live::{Details, Live};
use super::record::{Outcome, Party, Protocol, RequestRecord, Security, ServiceRef, Target, Tls, Tunnel};
use super::recorder::Telemetry;
use crate::policy::Report;
use crate::vocab::{Direction, OrigDst, PodId, Stage, Traffic};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// How many targets of one connection are remembered: the backends of a split are few.
const REMEMBERED: usize = 8;

/// An open connection. Close it with its outcome; dropping it counts and logs it with the flag `DR`.
///
/// What is counted, as ztunnel does: a connection that reached its destination (`established`, or closed as complete)
/// is opened once and closed once, and its closing carries the flag. One that failed before that is only
/// `istio_tcp_connections_failed_total`, with the flag.
#[derive(Debug)]
pub struct Open {
    telemetry: Telemetry,
    live: Arc<Live>,
    leads: Mutex<Vec<Arc<Lead>>>,
    finished: AtomicBool,
}

/// What all requests of a connection to one target share.
#[derive(Debug)]
struct Lead {
    target: Arc<Target>,
    edge: Arc<Edge>,
    /// The fields of their log lines that say where it was: most of a line.
    place: String,
}

impl Open {
    pub(super) fn new(telemetry: Telemetry, live: Arc<Live>) -> Self {
        Self { telemetry, live, leads: Mutex::default(), finished: AtomicBool::new(false) }
    }

    /// The connection's number in logs and dumps.
    pub fn id(&self) -> u64 {
        self.live.id
    }

    /// Where the relay counts bytes.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.live.traffic
    }

    /// The record of this connection's other end, a pod of this node: the bytes are counted once, for both.
    pub fn twin(&self, pod: PodId, source: Party, original: OrigDst) -> Self {
        let end = (Direction::Inbound, pod);
        self.telemetry.open_counting(end, source, original, Arc::clone(&self.live.traffic))
    }

    /// Where it goes, as far as is known by now.
    pub fn target_so_far(&self) -> Arc<Target> {
        Arc::new(self.live.details.lock().target.clone())
    }

    /// The connection entered a stage.
    pub fn enter(&self, stage: Stage) {
        self.change(|details| details.stage = stage);
    }

    /// Who the client turned out to be.
    pub fn source(&self, party: Party) {
        self.change(|details| details.source = party);
    }

    /// Which pod it goes to.
    pub fn destination(&self, party: Party) {
        self.change(|details| details.target.destination = Some(party));
    }

    /// Which Service it meant.
    pub fn service(&self, service: ServiceRef) {
        self.change(|details| details.target.service = Some(service));
    }

    /// What it speaks; `Tcp` until said.
    pub fn protocol(&self, protocol: Protocol) {
        self.change(|details| details.protocol = protocol);
    }

    /// The tunnel it takes.
    pub fn tunnel(&self, tunnel: Tunnel) {
        self.change(|details| details.target.tunnel = Some(tunnel));
    }

    /// How it is protected.
    pub fn security(&self, security: Security, tls: Option<Tls>) {
        self.change(|details| {
            details.target.security = Some(security);
            details.target.tls = tls;
        });
    }

    /// What policies say of it that decide nothing: AUDIT, dry runs. Counts it.
    pub fn told(&self, reports: &[Report]) {
        if reports.is_empty() {
            return;
        }
        reports.iter().for_each(|report| self.telemetry.agent().told(report));
        self.change(|details| details.told.extend_from_slice(reports));
    }

    /// All that is known of where it goes, at once.
    pub fn target(&self, target: Target) {
        self.change(|details| details.target = target);
    }

    /// The way to the destination is open (for a connection that is relayed by requests: it is being served). From
    /// here on its bytes are in the metrics while it runs; its labels are those known now. Only the first call counts.
    pub fn established(&self) {
        self.enter(Stage::Relay);
        if self.count_opened() {
            self.telemetry.setup_took(&self.live);
        }
    }

    /// Counts the connection as opened; false if it was before.
    fn count_opened(&self) -> bool {
        let mut counted = self.live.counted.lock();
        if counted.edge.is_some() {
            return false;
        }
        let edge = self.edge();
        edge.open();
        counted.edge = Some(edge);
        true
    }

    /// Counts and logs a request of this connection. `target` is where this request went.
    pub fn request(&self, target: &Arc<Target>, record: &RequestRecord) {
        let lead = self.lead(target);
        lead.edge.request(record);
        self.telemetry.log(|line| line.request(&lead.place, record));
    }

    /// The connection ended.
    pub fn close(self, outcome: Outcome) {
        self.end(outcome);
    }

    /// The connection ended, where others still hold its record: what they add is logged and counted. Only the first
    /// call counts.
    pub fn end(&self, outcome: Outcome) {
        if self.finished.swap(true, Ordering::Relaxed) {
            return;
        }
        if !outcome.is_failure() {
            self.count_opened();
        }
        self.telemetry.live().remove(self.live.id);
        self.live.count_bytes();
        let edge = self.live.counted.lock().edge.clone();
        match edge {
            Some(edge) => edge.flagged(outcome.flag).closed.fetch_add(1, Ordering::Relaxed),
            None => self.edge().flagged(outcome.flag).failed.fetch_add(1, Ordering::Relaxed),
        };
        let ended = SystemTime::now();
        self.telemetry.log(|line| line.connection(&self.live, &outcome, ended));
    }

    fn change(&self, change: impl FnOnce(&mut Details)) {
        change(&mut self.live.details.lock());
    }

    fn edge(&self) -> Arc<Edge> {
        let details = self.live.details.lock();
        self.telemetry.edges().find(&ends(&self.live, &details.source, &details.target))
    }

    fn lead(&self, target: &Arc<Target>) -> Arc<Lead> {
        let mut leads = self.leads.lock();
        if let Some(lead) = leads.iter().find(|lead| lead.target.is_same(target)) {
            return Arc::clone(lead);
        }
        let lead = {
            let details = self.live.details.lock();
            let edge = self.telemetry.edges().find(&ends(&self.live, &details.source, target));
            let place = self.telemetry.place(&self.live, &details.source, target);
            Arc::new(Lead { target: Arc::clone(target), edge, place })
        };
        if leads.len() == REMEMBERED {
            leads.remove(0);
        }
        leads.push(Arc::clone(&lead));
        lead
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end(Outcome::dropped());
    }
}

fn ends<'a>(live: &Live, source: &'a Party, target: &'a Target) -> Ends<'a> {
    Ends {
        direction: live.direction,
        source: Some(source),
        destination: target.destination.as_ref(),
        service: target.service.as_ref(),
        security: target.security,
    }
}
