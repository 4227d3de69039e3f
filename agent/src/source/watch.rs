//! The file source's thread: kernel events where there are any, and a look at everything now and then.

use super::files::Files;
use super::settle::Settle;
use super::{Config, Update};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender};

/// How often the roots themselves are looked at: they may come into being, or be replaced.
const LOOK: Duration = Duration::from_millis(200);
/// How often everything is looked at, for filesystems without events and events that were lost.
const SCAN: Duration = Duration::from_secs(3);
/// A look at everything may take at most one part in this of the thread's time.
const SCAN_SHARE: u32 = 50;

/// Reads everything once.
pub fn read_once(config: Config) -> Update {
    let mut files = Files::new(absolute(config));
    files.scan();
    files.world.update().unwrap_or_default()
}

/// Reads everything and then what changes, on a thread of its own that ends with the receiver. The first update is the
/// complete configuration; it comes even if there is none. Where there can be no thread, no update comes: the channel
/// is closed.
pub fn watch(config: Config) -> Receiver<Update> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let run = move || run(absolute(config), &sender);
    if let Err(error) = std::thread::Builder::new().name("manifests".to_owned()).spawn(run) {
        tracing::error!(%error, "no thread to read manifests on");
    }
    receiver
}

/// Events name absolute paths.
fn absolute(mut config: Config) -> Config {
    for root in &mut config.roots {
        if let Ok(path) = std::path::absolute(&root.dir) {
            root.dir = path;
        }
    }
    config
}

fn run(config: Config, updates: &Sender<Update>) {
    let (sender, events) = mpsc::channel();
    let mut roots = Roots::new(&config, sender);
    let mut files = Files::new(config);
    let mut settle = Settle::default();
    roots.arm();
    let mut next_scan = scan(&mut files);
    loop {
        if let Some(update) = files.world.update()
            && updates.blocking_send(update).is_err()
        {
            return;
        }
        let now = Instant::now();
        let wake = settle.due().unwrap_or(now + LOOK).min(now + LOOK);
        // The sender lives in `roots`: a timeout is the only error.
        if let Ok(Ok(event)) = events.recv_timeout(wake.saturating_duration_since(now)) {
            settle.note(&event, Instant::now());
        }
        if updates.is_closed() {
            return;
        }
        if roots.arm() {
            next_scan = Instant::now();
        }
        if settle.due().is_some_and(|due| due <= Instant::now()) {
            match settle.take() {
                Some(paths) => files.refresh(&paths),
                None => next_scan = Instant::now(),
            }
        }
        if next_scan <= Instant::now() {
            next_scan = scan(&mut files);
        }
    }
}

fn scan(files: &mut Files) -> Instant {
    let start = Instant::now();
    files.scan();
    let end = Instant::now();
    end + SCAN.max((end - start) * SCAN_SHARE)
}

/// The watched directories.
struct Roots {
    watcher: Option<RecommendedWatcher>,
    dirs: Vec<(PathBuf, Option<(u64, u64)>)>,
    _sender: mpsc::Sender<notify::Result<Event>>,
    looked: Option<Instant>,
}

impl Roots {
    fn new(config: &Config, sender: mpsc::Sender<notify::Result<Event>>) -> Self {
        let watcher = notify::recommended_watcher(sender.clone())
            .inspect_err(|error| tracing::warn!(%error, "no file events: manifests are looked at every {SCAN:?}"))
            .ok();
        let dirs = config.roots.iter().map(|root| (root.dir.clone(), None)).collect();
        Self { watcher, dirs, _sender: sender, looked: None }
    }

    /// Watches the roots that exist, anew where a directory was replaced. Whether any was.
    fn arm(&mut self) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK / 2) {
            return false;
        }
        self.looked = Some(Instant::now());
        let mut changed = false;
        for (dir, known) in &mut self.dirs {
            let identity = fs::metadata(&*dir).ok().filter(fs::Metadata::is_dir).map(|meta| (meta.dev(), meta.ino()));
            if identity == *known {
                continue;
            }
            changed = true;
            let Some(watcher) = &mut self.watcher else {
                *known = identity;
                continue;
            };
            if known.is_some() {
                // Fails where the kernel dropped the watch with the directory.
                let _ = watcher.unwatch(dir);
            }
            *known = identity;
            if identity.is_some()
                && let Err(error) = watcher.watch(dir, RecursiveMode::Recursive)
            {
                let dir = dir.display();
                tracing::warn!(%dir, %error, "no file events: the directory is looked at every {SCAN:?}");
            }
        }
        changed
    }
}
