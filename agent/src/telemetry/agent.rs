//! The agent's own measures, `underpass_*`: set by whoever knows, read by a scrape.

use super::exposition::{Kind, Labels, Page};
use super::histogram::Histogram;
use super::upstreams;
use crate::balance::Standings;
use crate::model::{Finding, Severity};
use crate::policy::{Report, Told};
use crate::vocab::{Alpn, Direction, SpiffeId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// What the names of policies begin with in reports.
const LABEL: &str = "AuthorizationPolicy ";

/// Counters and gauges of this agent.
#[derive(Debug, Default)]
pub struct Agent {
    captured: AtomicU64,
    wanted: AtomicU64,
    kubelet: AtomicBool,
    generation: AtomicU64,
    findings: Mutex<BTreeMap<(Severity, &'static str), u64>>,
    certificates: Mutex<BTreeMap<SpiffeId, SystemTime>>,
    certificate_requests: Mutex<BTreeMap<&'static str, u64>>,
    tunnels_ended: Mutex<BTreeMap<&'static str, u64>>,
    handshakes: Mutex<BTreeMap<(Direction, Alpn, &'static str), u64>>,
    sessions: Mutex<BTreeMap<(Direction, Alpn), Arc<Sessions>>>,
    setup: Mutex<BTreeMap<(Direction, &'static str), Arc<Histogram>>>,
    retries: AtomicU64,
    mirrored: Mutex<BTreeMap<&'static str, u64>>,
    keys_fetched: Mutex<BTreeMap<&'static str, u64>>,
    authorizers: Mutex<BTreeMap<(Arc<str>, &'static str), u64>>,
    told: Mutex<HashMap<(Arc<str>, Told), u64>>,
    upstreams: OnceLock<Standings>,
}

/// Tunnel sessions of one direction and protocol. Keep it: counting is one atomic add.
#[derive(Debug, Default)]
pub struct Sessions {
    open: AtomicI64,
    opened: AtomicU64,
    reused: AtomicU64,
}

impl Sessions {
    /// A session was opened; it is open until the returned value is dropped.
    pub fn opened(self: &Arc<Self>) -> SessionOpen {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        SessionOpen(self.clone())
    }

    /// A connection took a session that was there.
    pub fn reused(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A tunnel session that is open.
#[derive(Debug)]
pub struct SessionOpen(Arc<Sessions>);

impl Drop for SessionOpen {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Agent {
    /// Where a scrape finds who is left out, and what was refused.
    pub fn watch(&self, upstreams: Standings) {
        // One agent has one assembler: a second one has nothing to say.
        let _ = self.upstreams.set(upstreams);
    }

    /// How many pods of this node are captured, and how many wait to be.
    pub fn pods(&self, captured: u64, wanted: u64) {
        self.captured.store(captured, Ordering::Relaxed);
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether the kubelet's probes pass: its cgroup is known.
    pub fn kubelet(&self, known: bool) {
        self.kubelet.store(known, Ordering::Relaxed);
    }

    /// The generation of the snapshot in force.
    pub fn generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// All findings that the configuration has now. Codes that were seen before stay, at zero.
    pub fn findings<'a>(&self, findings: impl IntoIterator<Item = &'a Finding>) {
        let mut counts = self.findings.lock();
        counts.values_mut().for_each(|count| *count = 0);
        for finding in findings {
            *counts.entry((finding.severity, finding.code)).or_default() += 1;
        }
    }

    /// All certificates that are in use, with the end of each.
    pub fn certificates(&self, certificates: impl IntoIterator<Item = (SpiffeId, SystemTime)>) {
        *self.certificates.lock() = certificates.into_iter().collect();
    }

    /// What came of asking for certificates since the start, `ok` or the reason of a failure.
    pub fn certificate_requests(&self, counts: BTreeMap<&'static str, u64>) {
        *self.certificate_requests.lock() = counts;
    }

    /// Tunnels were ended that their peers would have kept, for a reason such as `revoked`.
    pub fn tunnels_ended(&self, reason: &'static str, how_many: u64) {
        *self.tunnels_ended.lock().entry(reason).or_default() += how_many;
    }

    /// A handshake succeeded (`ok`) or failed for a short reason such as `timeout`, `bad_certificate`, `wrong_identity`.
    pub fn handshake(&self, direction: Direction, tunnel: Alpn, result: &'static str) {
        *self.handshakes.lock().entry((direction, tunnel, result)).or_default() += 1;
    }

    /// The sessions of a direction and protocol.
    pub fn sessions(&self, direction: Direction, tunnel: Alpn) -> Arc<Sessions> {
        self.sessions.lock().entry((direction, tunnel)).or_default().clone()
    }

    /// A request was sent again, so often.
    pub fn retried(&self, times: u64) {
        self.retries.fetch_add(times, Ordering::Relaxed);
    }

    /// A mirror's copy of a request ended, with Envoy's response flag.
    pub fn mirrored(&self, flag: &'static str) {
        *self.mirrored.lock().entry(flag).or_default() += 1;
    }

    /// Keys of an issuer of tokens were fetched, or not: `ok` or `failed`.
    pub fn keys_fetched(&self, result: &'static str) {
        *self.keys_fetched.lock().entry(result).or_default() += 1;
    }

    /// An external authorizer was asked: it `allowed`, `denied`, or it `failed`.
    pub fn authorizer_asked(&self, name: &Arc<str>, result: &'static str) {
        *self.authorizers.lock().entry((Arc::clone(name), result)).or_default() += 1;
    }

    /// A policy that decides nothing had something to say of a connection or a request.
    pub fn told(&self, report: &Report) {
        *self.told.lock().entry((Arc::clone(&report.policy), report.told)).or_default() += 1;
    }

    pub(super) fn setup_took(&self, direction: Direction, tunnel: &'static str, took: Duration) {
        let histogram = self.setup.lock().entry((direction, tunnel)).or_default().clone();
        histogram.observe_thousandths(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn write(&self, page: &mut Page) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        page.family("underpass_pods", Kind::Gauge, "Enrolled pods of this node: captured, or waiting to be.");
        page.sample(r#"state="captured""#, load(&self.captured));
        page.sample(r#"state="wanted""#, load(&self.wanted));
        let help = "1 where the kubelet's cgroup is known, so that its probes pass whatever the pods' policies.";
        page.single("underpass_kubelet_known", Kind::Gauge, help, u8::from(self.kubelet.load(Ordering::Relaxed)));
        let help = "Generation of the configuration snapshot in force.";
        page.single("underpass_snapshot_generation", Kind::Gauge, help, load(&self.generation));
        self.write_findings(page);
        self.write_certificates(page);
        self.write_tunnels(page);
        self.write_setup(page);
        self.write_requests(page);
        self.write_told(page);
        let help = "Key sets of token issuers that were fetched, or not.";
        page.family("underpass_jwks_fetches_total", Kind::Counter, help);
        for (result, count) in &*self.keys_fetched.lock() {
            page.sample(Labels::default().with("result", result).as_str(), count);
        }
        let help = "Questions to external authorizers, by what they answered.";
        page.family("underpass_external_authorizations_total", Kind::Counter, help);
        for ((name, result), count) in &*self.authorizers.lock() {
            page.sample(Labels::default().with("authorizer", name).with("result", result).as_str(), count);
        }
        if let Some(standings) = self.upstreams.get() {
            upstreams::write(page, &standings.list(), Instant::now());
        }
    }

    fn write_requests(&self, page: &mut Page) {
        let help = "Attempts at requests after their first, to the same endpoint or another.";
        page.single("underpass_request_retries_total", Kind::Counter, help, self.retries.load(Ordering::Relaxed));
        page.family("underpass_mirrored_requests_total", Kind::Counter, "Copies of requests sent to mirrors.");
        for (flag, count) in &*self.mirrored.lock() {
            page.sample(Labels::default().with("response_flags", flag).as_str(), count);
        }
    }

    fn write_told(&self, page: &mut Page) {
        let help = "What AUDIT and dry-run AuthorizationPolicies said of connections and requests.";
        page.family("underpass_authorization_reports_total", Kind::Counter, help);
        let told = self.told.lock();
        let mut told: Vec<_> = told.iter().collect();
        told.sort();
        for ((policy, told), count) in told {
            let name = policy.strip_prefix(LABEL).unwrap_or(policy);
            page.sample(Labels::default().with("policy", name).with("verdict", told.as_str()).as_str(), count);
        }
    }

    fn write_findings(&self, page: &mut Page) {
        page.family("underpass_config_findings", Kind::Gauge, "Problems of the configuration, by severity and code.");
        for ((severity, code), count) in &*self.findings.lock() {
            let severity = if *severity == Severity::Error { "error" } else { "warning" };
            page.sample(Labels::default().with("severity", severity).with("code", code).as_str(), count);
        }
    }

    fn write_certificates(&self, page: &mut Page) {
        let help = "Seconds until the certificate of an identity ends; negative once it has.";
        page.family("underpass_certificate_expiry_seconds", Kind::Gauge, help);
        let now = SystemTime::now();
        for (identity, end) in &*self.certificates.lock() {
            let left = match end.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(past) => -past.duration().as_secs_f64(),
            };
            page.sample(Labels::default().with("identity", identity).as_str(), left.round());
        }
        let help = "Attempts to get a certificate or to read an authority's files, by result.";
        page.family("underpass_certificate_requests_total", Kind::Counter, help);
        for (result, count) in &*self.certificate_requests.lock() {
            page.sample(Labels::default().with("result", result).as_str(), count);
        }
    }

    fn write_tunnels(&self, page: &mut Page) {
        page.family("underpass_handshakes_total", Kind::Counter, "TLS handshakes of tunnels, by result.");
        for ((direction, tunnel, result), count) in &*self.handshakes.lock() {
            page.sample(tunnel_labels(*direction, tunnel.name()).with("result", result).as_str(), count);
        }
        page.family("underpass_tunnels_ended_total", Kind::Counter, "Tunnels that this agent ended, by reason.");
        for (reason, count) in &*self.tunnels_ended.lock() {
            page.sample(Labels::default().with("reason", reason).as_str(), count);
        }
        let sessions: Vec<_> = self.sessions.lock().iter().map(|(key, value)| (*key, value.clone())).collect();
        let mut family = |name, kind, help, value: fn(&Sessions) -> i128| {
            page.family(name, kind, help);
            for ((direction, tunnel), sessions) in &sessions {
                page.sample(tunnel_labels(*direction, tunnel.name()).as_str(), value(sessions));
            }
        };
        family("underpass_tunnel_sessions_open", Kind::Gauge, "Tunnel sessions that are open.", |sessions| {
            sessions.open.load(Ordering::Relaxed).into()
        });
        family("underpass_tunnel_sessions_opened_total", Kind::Counter, "Tunnel sessions opened.", |sessions| {
            sessions.opened.load(Ordering::Relaxed).into()
        });
        let help = "Connections that took a session that was open already.";
        family("underpass_tunnel_sessions_reused_total", Kind::Counter, help, |sessions| {
            sessions.reused.load(Ordering::Relaxed).into()
        });
    }

    fn write_setup(&self, page: &mut Page) {
        let help = "From a connection's arrival until the way to its destination was open.";
        page.family("underpass_connection_setup_milliseconds", Kind::Histogram, help);
        for ((direction, tunnel), histogram) in &*self.setup.lock() {
            page.histogram(tunnel_labels(*direction, tunnel).as_str(), &histogram.read());
        }
    }
}

fn tunnel_labels(direction: Direction, tunnel: &str) -> Labels {
    Labels::default().with("direction", direction.as_str()).with("tunnel", tunnel)
}
