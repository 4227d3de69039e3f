//! The certificates of this node's workloads, always fresh.

use super::authority::AuthorityError;
use super::bundle::TrustOptions;
use super::files::{self, FileError};
use super::issue::{Identity, IssueError};
use super::origin::{Origin, OriginOptions};
use super::renew::{Plan, Step};
use super::verify::Trust;
use super::{report, tls};
use crate::vocab::SpiffeId;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::{Notify, Semaphore};
use tracing::{info, warn};

/// How long the files must be quiet before they are read: a Secret's update is several events.
const SETTLE: Duration = Duration::from_millis(200);
/// How long [`Store::keep_fresh`] sleeps at most: timers do not run while a machine is suspended,
/// certificates grow old all the same.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Questions to the authority at the same time: an agent that starts does not storm it.
const AT_ONCE: usize = 16;

/// What a store is made of.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Who signs.
    pub origin: OriginOptions,
    /// Who is believed.
    pub trust: TrustOptions,
    /// Lifetime of a workload's certificate; Istio's default is 24 h.
    pub lifetime: Duration,
}

/// A store that cannot be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The `cacerts` directory.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file of federated roots or revoked certificates.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Who waits for an identity that is being asked for, and those who come meanwhile.
type Pending = Shared<BoxFuture<'static, Obtained>>;
type Obtained = Result<Arc<Identity>, Arc<IssueError>>;

/// Issues on first use, renews at half life.
pub struct Store {
    origin: Origin,
    trust: Arc<Trust>,
    lifetime: Duration,
    entries: ArcSwap<imbl::HashMap<SpiffeId, Entry>>,
    /// Held, briefly, by every writer of `entries`: a burst of first connections asks once, and no renewal
    /// brings back what [`Store::keep`] removed.
    pending: Mutex<HashMap<SpiffeId, Pending>>,
    places: Semaphore,
    changed: Notify,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// What is known of one identity.
#[derive(Clone)]
pub(super) struct Entry {
    /// Its certificate; none before the first came.
    pub(super) identity: Option<Arc<Identity>>,
    /// When the next is asked for.
    pub(super) plan: Plan,
    /// Why the last attempt came to nothing, if it did.
    pub(super) error: Option<Arc<IssueError>>,
}

impl Store {
    /// Reads the files; no certificate is issued yet.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn open(options: StoreOptions) -> Result<Arc<Self>, StoreError> {
        let trust = Arc::new(Trust::open(options.trust, tls::provider())?);
        Ok(Arc::new(Self {
            origin: Origin::open(options.origin, &trust)?,
            trust,
            lifetime: options.lifetime,
            entries: ArcSwap::default(),
            pending: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            changed: Notify::new(),
            counts: Mutex::default(),
        }))
    }

    /// The current identity of a workload: one lookup without a lock. The first time it is asked for, in a task of its
    /// own: whoever else wants it waits for the same answer.
    ///
    /// # Errors
    /// Why there is none. While an attempt has just failed, the same answer at once.
    pub async fn of(self: &Arc<Self>, id: &SpiffeId) -> Obtained {
        let now = SystemTime::now();
        match self.current(id, now) {
            Some(identity) => Ok(identity),
            None => self.obtain(id, now).await,
        }
    }

    /// Boxed where it is rare, so that connections do not carry its size.
    fn obtain(self: &Arc<Self>, id: &SpiffeId, now: SystemTime) -> BoxFuture<'static, Obtained> {
        let failed = self.entries.load().get(id).and_then(|entry| match entry.plan.step(now) {
            Step::Wait(_) => entry.error.clone(),
            Step::Renew => None,
        });
        match failed {
            Some(error) => std::future::ready(Err(error)).boxed(),
            None => self.ask(id).boxed(),
        }
    }

    /// These identities are wanted, and no others: a pod of this node has them.
    pub fn keep(self: &Arc<Self>, wanted: &BTreeSet<SpiffeId>) {
        let pending = self.pending();
        let mut entries = imbl::HashMap::clone(&self.entries.load());
        entries.retain(|id, _| wanted.contains(id));
        let new = wanted.iter().filter(|id| !entries.contains_key(*id)).cloned();
        let new: Vec<_> = if self.origin.is_remote() { new.collect() } else { Vec::new() };
        self.entries.store(Arc::new(entries));
        drop(pending);
        for id in new {
            // Who needs it joins; nobody has to wait here.
            drop(self.ask(&id));
        }
    }

    /// Every identity held.
    pub fn list(&self) -> Vec<Arc<Identity>> {
        self.entries.load().values().filter_map(|entry| entry.identity.clone()).collect()
    }

    /// The same with what is planned for each, for people.
    pub fn rows(&self) -> Vec<report::Row> {
        let origin = self.origin.name();
        let mut rows: Vec<_> =
            self.entries.load().iter().map(|(id, entry)| report::Row::of(id, entry, &origin)).collect();
        rows.sort_by(|a, b| a.identity.cmp(&b.identity));
        rows
    }

    /// Whom workloads of this node believe.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// What came of asking for certificates and reading files since the start: `ok`, or the reason of a failure.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews what is due and follows changes of files, for ever; drop it to stop.
    pub async fn keep_fresh(self: &Arc<Self>) {
        let files = Arc::new(Notify::new());
        let watched: Vec<PathBuf> =
            self.origin.files().into_iter().chain(self.trust.options().files().cloned()).collect();
        let _watch = files::watch(&watched, &files);
        let mut origin = files::fingerprint(self.origin.files());
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.renew_due(SystemTime::now())) => {}
                () = self.changed.notified() => {}
                () = files.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    self.reload(&mut origin);
                }
            }
        }
    }

    /// Asks for what is due at `now`; says how long to wait for the next.
    fn renew_due(self: &Arc<Self>, now: SystemTime) -> Duration {
        let mut sleep = LONGEST_SLEEP;
        for (id, entry) in self.entries.load().iter() {
            match entry.plan.step(now) {
                Step::Wait(wait) => sleep = sleep.min(wait),
                // Its end wakes the caller.
                Step::Renew => drop(self.ask(id)),
            }
        }
        sleep
    }

    /// Follows files. New roots of the authority's own certificate are the sign that it may have new roots for us.
    fn reload(self: &Arc<Self>, origin: &mut Vec<u8>) {
        match self.trust.reload() {
            Ok(true) => info!("federated roots and revoked certificates reloaded"),
            Ok(false) => {}
            Err(error) => {
                self.count("file");
                warn!(%error, "trust not reloaded, what was believed stays");
            }
        }
        let all = match self.origin.reload(&self.trust, SystemTime::now()) {
            Ok(all) => all,
            Err(error) => {
                self.count("file");
                warn!(%error, "certificate authority not reloaded, the current one stays");
                false
            }
        };
        let now = files::fingerprint(self.origin.files());
        let asked = self.origin.is_remote() && now != *origin;
        *origin = now;
        for (id, entry) in self.entries.load().iter() {
            let revoked = entry.identity.as_ref().is_some_and(|identity| self.trust.is_revoked(&identity.chain));
            if all || asked || revoked {
                drop(self.ask(id));
            }
        }
    }

    fn current(&self, id: &SpiffeId, now: SystemTime) -> Option<Arc<Identity>> {
        let entries = self.entries.load();
        entries.get(id)?.identity.as_ref().filter(|identity| now < identity.not_after()).cloned()
    }

    /// Joins the question for `id` that is under way, or asks it.
    fn ask(self: &Arc<Self>, id: &SpiffeId) -> Pending {
        let mut pending = self.pending();
        if let Some(asked) = pending.get(id) {
            return asked.clone();
        }
        let known = self.entries.load().contains_key(id);
        let (store, wanted) = (Arc::clone(self), id.clone());
        let task = tokio::spawn(async move { store.issue(&wanted, known).await });
        let asked = async move { task.await.unwrap_or_else(|_| Err(Arc::new(IssueError::Stopping))) };
        let asked = asked.boxed().shared();
        pending.insert(id.clone(), asked.clone());
        asked
    }

    async fn issue(self: &Arc<Self>, id: &SpiffeId, known: bool) -> Obtained {
        let place = self.places.acquire().await;
        let issued = self.origin.issue(id, &self.trust, self.lifetime).await;
        drop(place);
        let result = issued.map(Arc::new).map_err(Arc::new);
        self.count(result.as_ref().map_or_else(|error| error.reason(), |_| "ok"));
        let mut pending = self.pending();
        pending.remove(id);
        let before = self.entries.load().get(id).cloned();
        if known && before.is_none() {
            return result;
        }
        let entry = Entry::after(before, &result, SystemTime::now());
        if let Err(error) = &result {
            let current = entry.identity.as_ref().map(|identity| humantime::format_rfc3339(identity.not_after()));
            let current = current.map_or("none".to_owned(), |end| format!("good until {end}"));
            warn!(%id, %error, current, "no new certificate");
        }
        self.entries.store(Arc::new(self.entries.load().update(id.clone(), entry)));
        self.changed.notify_one();
        result
    }

    fn count(&self, result: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(result).or_default() += 1;
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<SpiffeId, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The entry after an attempt: the certificate at hand stays where there is no new one.
    fn after(before: Option<Self>, result: &Obtained, now: SystemTime) -> Self {
        match (result, before) {
            (Ok(identity), _) => {
                let plan = Plan::new(identity.validity, now, fastrand::f64());
                Self { identity: Some(identity.clone()), plan, error: None }
            }
            (Err(error), Some(entry)) => Self { plan: entry.plan.failed(now), error: Some(error.clone()), ..entry },
            (Err(error), None) => Self { identity: None, plan: Plan::at(now).failed(now), error: Some(error.clone()) },
        }
    }
}
