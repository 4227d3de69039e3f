//! The certificates of this node's workloads, always fresh.

use super::authority::{Authority, AuthorityError};
use super::issue::{Identity, IssueError};
use super::renew::{Plan, Step};
use crate::vocab::{SpiffeId, TrustDomain};
use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tracing::{info, warn};

/// How long the files must be quiet before they are read: a Secret's update is several events.
const SETTLE: Duration = Duration::from_millis(200);
/// How long [`Store::keep_fresh`] sleeps at most: timers do not run while a machine is suspended,
/// certificates grow old all the same.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What a store is made of.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The `cacerts` directory.
    pub cacerts: PathBuf,
    /// Whose identities are issued and believed.
    pub trust_domain: TrustDomain,
    /// Lifetime of a workload's certificate; Istio's default is 24 h.
    pub lifetime: Duration,
}

/// Issues on first use, renews at half life.
pub struct Store {
    options: StoreOptions,
    authority: ArcSwap<Authority>,
    entries: ArcSwap<imbl::HashMap<SpiffeId, Entry>>,
    /// Held by every writer of `entries`: a burst of first connections signs once, and no renewal
    /// brings back what `retain` removed.
    signing: Mutex<()>,
    changed: Notify,
    failures: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    identity: Arc<Identity>,
    plan: Plan,
}

impl Store {
    /// Reads the authority; no certificate is issued yet.
    pub fn open(options: StoreOptions) -> Result<Self, AuthorityError> {
        let authority = Authority::load(&options.cacerts, &options.trust_domain, SystemTime::now())?;
        Ok(Self {
            options,
            authority: ArcSwap::from_pointee(authority),
            entries: ArcSwap::default(),
            signing: Mutex::new(()),
            changed: Notify::new(),
            failures: AtomicU64::new(0),
        })
    }

    /// The current identity of a workload; signed here (a fraction of a millisecond with an EC
    /// authority) the first time, one lookup without a lock afterwards.
    pub fn of(&self, id: &SpiffeId) -> Result<Arc<Identity>, IssueError> {
        let now = SystemTime::now();
        if let Some(identity) = self.current(id, now) {
            return Ok(identity);
        }
        let _signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = self.current(id, now) {
            return Ok(identity);
        }
        let identity = self.sign(id, now)?;
        self.changed.notify_one();
        Ok(identity)
    }

    /// Forgets every identity that no pod of this node has any more.
    pub fn retain(&self, wanted: impl Fn(&SpiffeId) -> bool) {
        let _signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = imbl::HashMap::clone(&self.entries.load());
        entries.retain(|id, _| wanted(id));
        self.entries.store(Arc::new(entries));
    }

    /// Every identity held, for the admin API.
    pub fn list(&self) -> Vec<Arc<Identity>> {
        self.entries.load().values().map(|entry| entry.identity.clone()).collect()
    }

    /// The authority in force.
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.load_full()
    }

    /// Renewals and reloads that failed since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Renews what is due and follows changes of the `cacerts` directory, for ever; drop it to stop.
    pub async fn keep_fresh(&self) {
        let files = Arc::new(Notify::new());
        let _watch = self.watch(files.clone());
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.renew_due(SystemTime::now())) => {}
                () = self.changed.notified() => {}
                () = files.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    self.reload(SystemTime::now());
                }
            }
        }
    }

    /// Renews what is due at `now`; says how long to wait for the next.
    fn renew_due(&self, now: SystemTime) -> Duration {
        let mut sleep = LONGEST_SLEEP;
        for (id, entry) in self.entries.load().iter() {
            match entry.plan.step(now) {
                Step::Wait(wait) => sleep = sleep.min(wait),
                Step::Renew => sleep = sleep.min(self.renew(id, entry, now)),
            }
        }
        sleep
    }

    /// Replaces one certificate; the old one stays if that fails.
    fn renew(&self, id: &SpiffeId, entry: &Entry, now: SystemTime) -> Duration {
        let _signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.entries.load().contains_key(id) {
            return LONGEST_SLEEP;
        }
        let Err(error) = self.sign(id, now) else { return LONGEST_SLEEP };
        self.failures.fetch_add(1, Ordering::Relaxed);
        warn!(%id, %error, "certificate not renewed, the current one stays");
        let plan = entry.plan.failed(now);
        self.insert(Entry { plan, ..entry.clone() });
        match plan.step(now) {
            Step::Wait(wait) => wait,
            Step::Renew => Duration::ZERO,
        }
    }

    /// Takes the directory's authority if its files changed and are good, and renews all with it.
    fn reload(&self, now: SystemTime) {
        if self.authority.load().is_of(&self.options.cacerts) {
            return;
        }
        match Authority::load(&self.options.cacerts, &self.options.trust_domain, now) {
            Ok(authority) => self.authority.store(Arc::new(authority)),
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "certificate authority not reloaded, the current one stays");
                return;
            }
        }
        info!(directory = %self.options.cacerts.display(), "certificate authority reloaded");
        for (id, entry) in self.entries.load().iter() {
            self.renew(id, entry, now);
        }
    }

    fn watch(&self, files: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
        let directory = &self.options.cacerts;
        let watcher = notify::recommended_watcher(move |_| files.notify_one()).and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        watcher.inspect_err(|error| warn!(%error, directory = %directory.display(), "changes will not be noticed")).ok()
    }

    fn current(&self, id: &SpiffeId, now: SystemTime) -> Option<Arc<Identity>> {
        let entries = self.entries.load();
        entries.get(id).map(|entry| &entry.identity).filter(|identity| now < identity.not_after()).cloned()
    }

    fn sign(&self, id: &SpiffeId, now: SystemTime) -> Result<Arc<Identity>, IssueError> {
        let identity = Arc::new(self.authority.load().issue(id, self.options.lifetime, now)?);
        let plan = Plan::new(identity.validity, now, fastrand::f64());
        self.insert(Entry { identity: identity.clone(), plan });
        Ok(identity)
    }

    fn insert(&self, entry: Entry) {
        let entries = self.entries.load().update(entry.identity.id.clone(), entry);
        self.entries.store(Arc::new(entries));
    }
}
