//! The handle that the rest of the agent records through.

use super::access::{AccessLog, Writer};
use super::access_line::Line;
use super::agent::Agent;
use super::edges::{Edges, MAX_EDGES};
use super::live::{ConnectionRow, Details, Live, Table};
use super::logging::LogFormat;
use super::open::Open;
use super::record::{Party, Protocol, Target};
use super::scrape::{self, Pieces};
use crate::vocab::{Direction, OrigDst, PodId, Stage, Traffic};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What telemetry is told at the start.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where access log lines go.
    pub access_log: AccessLog,
    /// How they look.
    pub format: LogFormat,
}

#[derive(Debug)]
struct Inner {
    edges: Edges,
    live: Table,
    agent: Agent,
    writer: Option<Writer>,
    swept: Mutex<Instant>,
}

/// Records connections and requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Inner>);

/// How often a scrape or a dump also looks for series to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

impl Telemetry {
    /// Starts the access log's writer thread, where there is a log.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread cannot be started.
    pub fn new(config: &Config) -> io::Result<Self> {
        let writer = Writer::start(&config.access_log, config.format)?;
        Ok(Self(Arc::new(Inner {
            edges: Edges::new(MAX_EDGES),
            live: Table::default(),
            agent: Agent::default(),
            writer,
            swept: Mutex::new(Instant::now()),
        })))
    }

    /// A connection reached the agent. `source` may be refined later, for one that proves who it is.
    pub fn open(&self, direction: Direction, pod: PodId, source: Party, original: OrigDst) -> Open {
        self.open_counting((direction, pod), source, original, Arc::default())
    }

    /// A record whose bytes another one counts too: the two ends of a connection within this node.
    pub(super) fn open_counting(
        &self,
        (direction, pod): (Direction, PodId),
        source: Party,
        original: OrigDst,
        traffic: Arc<Traffic>,
    ) -> Open {
        let details = Details {
            source,
            target: Target::default(),
            protocol: Protocol::Tcp,
            stage: Stage::Capture,
            told: Vec::new(),
        };
        let live = Arc::new(Live {
            id: self.0.live.next_id(),
            direction,
            pod,
            original,
            opened: Instant::now(),
            since: SystemTime::now(),
            traffic,
            details: Mutex::new(details),
            counted: Mutex::default(),
        });
        self.0.live.insert(live.clone());
        Open::new(self.clone(), live)
    }

    /// The agent's own gauges and counters.
    pub fn agent(&self) -> &Agent {
        &self.0.agent
    }

    /// The open connections, for `/connections`.
    pub fn connections(&self) -> Vec<ConnectionRow> {
        self.0.live.all().iter().map(|live| ConnectionRow::of(live)).collect()
    }

    /// How many connections are open: outbound, inbound.
    pub fn open_connections(&self) -> (usize, usize) {
        let all = self.0.live.all();
        let outbound = all.iter().filter(|live| live.direction == Direction::Outbound).count();
        (outbound, all.len() - outbound)
    }

    /// The page for Prometheus. Bytes of open connections are included up to now.
    pub fn scrape(&self) -> Pieces {
        self.sweep();
        scrape::page(self)
    }

    /// Waits until the lines logged so far are written, or `patience` is over; true if they were written.
    pub fn flush(&self, patience: Duration) -> bool {
        self.0.writer.as_ref().is_none_or(|writer| writer.flush(patience))
    }

    /// Forgets series of workloads that are gone. Called by scrapes; who is never scraped calls it now and then.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut swept = self.0.swept.lock();
        if now.duration_since(*swept) < SWEEP_EVERY {
            return;
        }
        *swept = now;
        self.0.edges.sweep(now);
    }

    pub(super) fn edges(&self) -> &Edges {
        &self.0.edges
    }

    pub(super) fn live(&self) -> &Table {
        &self.0.live
    }

    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.writer.as_ref().map_or(0, Writer::dropped)
    }

    pub(super) fn setup_took(&self, live: &Live) {
        let tunnel = live.details.lock().target.tunnel.map_or("none", |tunnel| tunnel.alpn.name());
        self.0.agent.setup_took(live.direction, tunnel, live.opened.elapsed());
    }

    /// The fields of log lines that requests to one target share; empty where there is no log.
    pub(super) fn place(&self, live: &Live, source: &Party, target: &Target) -> String {
        let Some(writer) = &self.0.writer else { return String::new() };
        let mut line = Line::new(writer.format());
        line.place(live, source, target);
        line.into_text()
    }

    pub(super) fn log(&self, make: impl FnOnce(&mut Line)) {
        if let Some(writer) = &self.0.writer {
            writer.add(make);
        }
    }
}
