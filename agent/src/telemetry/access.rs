//! The access log: lines are made where they happen, gathered, and written by a thread of their own.
//!
//! An entry that waits as it is would hold the buffers that its headers point into: 8 KiB for each request. Its line is
//! 700 bytes and takes 1.6 us to make; the writer is woken 50 times a second at most, not for each line.

use super::access_line::Line;
use super::logging::LogFormat;
use crate::vocab::own_shard;
use parking_lot::{Condvar, Mutex};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

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

/// Bytes that may wait for the writer, for each core: a second of 10,000 requests. Lines beyond are counted and gone.
const MOST: usize = 8 << 20;

/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(20);

/// Where lines are gathered.
#[derive(Debug)]
pub struct Writer(Arc<Gathered>);

#[derive(Debug)]
struct Gathered {
    /// A thread keeps to its own, so that none waits for another.
    shards: Box<[Mutex<Line>]>,
    format: LogFormat,
    dropped: AtomicU64,
    turn: Mutex<Turn>,
    /// The writer waits for the first line, for a hurry, or for the end.
    for_lines: Condvar,
    /// Those in a hurry wait for the writer.
    for_writer: Condvar,
}

#[derive(Debug, Default)]
struct Turn {
    /// There are lines.
    lines: bool,
    /// How often all lines were asked for, and how often that was done.
    asked: u64,
    done: u64,
    closed: bool,
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
        let cores = available_parallelism().map_or(1, usize::from);
        let gathered = Arc::new(Gathered {
            shards: (0..cores).map(|_| Mutex::new(Line::new(format))).collect(),
            format,
            dropped: AtomicU64::new(0),
            turn: Mutex::default(),
            for_lines: Condvar::new(),
            for_writer: Condvar::new(),
        });
        let shared = Arc::clone(&gathered);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || shared.run(sink))?;
        Ok(Some(Self(gathered)))
    }

    /// How lines look.
    pub fn format(&self) -> LogFormat {
        self.0.format
    }

    /// Adds lines. One that finds too many waiting is counted and gone.
    pub fn add(&self, make: impl FnOnce(&mut Line)) {
        let mut line = self.0.shards[own_shard(self.0.shards.len())].lock();
        if line.text().len() > MOST {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = line.text().is_empty();
        make(&mut line);
        drop(line);
        if first {
            self.0.turn.lock().lines = true;
            self.0.for_lines.notify_one();
        }
    }

    /// Lines that were dropped.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written; false if that took longer than `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut turn = self.0.turn.lock();
        turn.asked += 1;
        let mine = turn.asked;
        self.0.for_lines.notify_one();
        while turn.done < mine {
            if self.0.for_writer.wait_until(&mut turn, until).timed_out() {
                return turn.done >= mine;
            }
        }
        true
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.turn.lock().closed = true;
        self.0.for_lines.notify_one();
    }
}

impl Gathered {
    fn run(&self, mut sink: Box<dyn Write + Send>) {
        let mut batch = String::new();
        while let Some(asked) = self.wait() {
            for shard in &self.shards {
                shard.lock().swap(&mut batch);
                // Nowhere to report to if standard error itself is gone; the next batch is tried again.
                _ = sink.write_all(batch.as_bytes()).and_then(|()| sink.flush());
                batch.clear();
            }
            self.turn.lock().done = asked;
            self.for_writer.notify_all();
        }
    }

    /// Waits for lines and then for more of them, unless somebody is in a hurry. None when no more will come.
    fn wait(&self) -> Option<u64> {
        let mut turn = self.turn.lock();
        while !turn.lines && turn.asked == turn.done && !turn.closed {
            self.for_lines.wait(&mut turn);
        }
        let until = Instant::now() + GATHER;
        while turn.asked == turn.done && !turn.closed {
            if self.for_lines.wait_until(&mut turn, until).timed_out() {
                break;
            }
        }
        let over = turn.closed && !turn.lines;
        turn.lines = false;
        (!over).then_some(turn.asked)
    }
}
