//! The access log: entries are handed over as they are and turned into lines by a thread of their own.

use super::access_line::Line;
use super::live::Live;
use super::logging::LogFormat;
use super::record::{Outcome, RequestRecord, Target};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

/// Where access log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard error, beside the agent's own log.
    #[default]
    Stderr,
    /// Appended to a file. It is kept open: rotate it by copying and truncating.
    File(PathBuf),
    /// Nowhere.
    Off,
}

impl std::str::FromStr for AccessLog {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Stderr,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

/// Entries that may wait for the writer: a second of 16,000 requests, about 8 MB.
const QUEUE: usize = 16_384;

/// Bytes that are written at once where lines come fast.
const BATCH: usize = 64 * 1024;

/// How long a line may wait for others. While the writer waits nobody has to wake it: woken for each line, it cost a
/// request as much as parsing it.
const GATHER: Duration = Duration::from_millis(20);

/// One line to be.
#[derive(Debug)]
pub enum Entry {
    /// A connection that ended.
    Connection {
        /// The connection; nothing changes it any more.
        live: Arc<Live>,
        /// How it ended.
        outcome: Outcome,
        /// When it ended.
        ended: SystemTime,
        /// How long it lasted.
        lasted: Duration,
    },
    /// A request that was answered.
    Request(Box<RequestEntry>),
    /// Somebody waits for all that came before.
    Flush(SyncSender<()>),
}

/// A request with its connection.
#[derive(Debug)]
pub struct RequestEntry {
    /// The client's connection.
    pub live: Arc<Live>,
    /// Where the request went.
    pub target: Arc<Target>,
    /// The request.
    pub record: RequestRecord,
    /// When it ended.
    pub ended: SystemTime,
}

impl Entry {
    /// An entry for a connection.
    pub fn connection(live: Arc<Live>, outcome: Outcome, ended: SystemTime) -> Self {
        let lasted = live.opened.elapsed();
        Self::Connection { live, outcome, ended, lasted }
    }

    /// An entry for a request that ends now.
    pub fn request(live: &Arc<Live>, target: Arc<Target>, record: RequestRecord) -> Self {
        Self::Request(Box::new(RequestEntry { live: live.clone(), target, record, ended: SystemTime::now() }))
    }
}

/// The data path's end of the queue.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Entry>,
    dropped: AtomicU64,
}

impl Writer {
    /// Starts the thread; `None` where the log is off. The thread ends when the writer is dropped.
    pub fn start(log: &AccessLog, format: LogFormat) -> io::Result<Option<Self>> {
        let sink: Box<dyn Write + Send> = match log {
            AccessLog::Off => return Ok(None),
            // Locked for each batch, as tracing locks it for each of its lines: neither cuts the other's.
            AccessLog::Stderr => Box::new(io::stderr()),
            AccessLog::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (queue, entries) = sync_channel(QUEUE);
        let name = "access-log".to_owned();
        std::thread::Builder::new().name(name).spawn(move || run(&entries, sink, format))?;
        Ok(Some(Self { queue, dropped: AtomicU64::new(0) }))
    }

    /// Hands over an entry; never waits. An entry that finds the queue full is counted and gone.
    pub fn send(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Entries that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all entries so far are written; false if that took longer than `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, written) = sync_channel(1);
        self.queue.try_send(Entry::Flush(done)).is_ok() && written.recv_timeout(patience).is_ok()
    }
}

fn run(entries: &Receiver<Entry>, mut sink: Box<dyn Write + Send>, format: LogFormat) {
    let mut line = Line::new(format);
    while let Ok(first) = entries.recv() {
        if !matches!(first, Entry::Flush(_)) {
            std::thread::sleep(GATHER);
        }
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Flush(done) => waiting.push(done),
                entry => line.append(&entry),
            }
            next = if line.text().len() < BATCH { entries.try_recv().ok() } else { None };
        }
        // Nowhere to report to if standard error itself is gone; the next batch is tried again.
        _ = sink.write_all(line.text().as_bytes()).and_then(|()| sink.flush());
        line.clear();
        for done in waiting {
            _ = done.try_send(());
        }
    }
}
