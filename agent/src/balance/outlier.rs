//! Outlier detection: endpoints that fail are left out for a while.
//!
//! What is known of an endpoint outlives snapshots. A request that goes well costs a few loads; only an ejection and the
//! look for who may come back, at most one for each interval, take a lock.

use super::Outcome;
use crate::model::traffic_policy::OutlierDetection;
use crate::vocab::WorkloadId;
use http::StatusCode;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// No ejection lasts longer, unless the base is longer by itself (Envoy's default).
const LONGEST: Duration = Duration::from_secs(300);

/// What one upstream knows of one endpoint.
#[derive(Debug)]
pub struct Health {
    /// The pod: another one at the same address starts anew.
    pub(super) who: Option<WorkloadId>,
    pub(super) first_seen: Instant,
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    out: AtomicBool,
    /// For [`Ejections`] only, below its lock: when it may come back, and how often it was out.
    back_at: AtomicU64,
    times: AtomicU32,
}

impl Health {
    pub(super) fn new(who: Option<WorkloadId>, first_seen: Instant) -> Self {
        Self {
            who,
            first_seen,
            server_errors: AtomicU32::new(0),
            gateway_errors: AtomicU32::new(0),
            local_failures: AtomicU32::new(0),
            out: AtomicBool::new(false),
            back_at: AtomicU64::new(0),
            times: AtomicU32::new(0),
        }
    }

    /// Whether it is left out.
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    fn forgive(&self) {
        for count in [&self.server_errors, &self.gateway_errors, &self.local_failures] {
            reset(count);
        }
    }
}

/// A store only where there is something to forget: the usual success leaves the cache line alone.
fn reset(count: &AtomicU32) {
    if count.load(Ordering::Relaxed) != 0 {
        count.store(0, Ordering::Relaxed);
    }
}

/// The rule that a group's endpoints are judged by.
#[derive(Debug)]
pub struct Judge {
    pub(super) rule: OutlierDetection,
    /// How many endpoints there are.
    pub(super) members: usize,
    pub(super) ejections: Arc<Ejections>,
}

impl Judge {
    /// Takes the end of a connection or request into account.
    pub fn settle(&self, health: &Arc<Health>, outcome: Outcome, now: Instant) {
        let rule = &self.rule;
        let guilty = match outcome {
            Outcome::Connected => {
                health.forgive();
                false
            }
            Outcome::Failed if rule.split_local => strike(&health.local_failures, rule.local_failures),
            Outcome::Failed => {
                let gateway = strike(&health.gateway_errors, rule.gateway_errors);
                strike(&health.server_errors, rule.server_errors) || gateway
            }
            Outcome::Answered(status) => {
                reset(&health.local_failures);
                let gateway = count(is_gateway_error(status), &health.gateway_errors, rule.gateway_errors);
                count(self.is_error(status), &health.server_errors, rule.server_errors) || gateway
            }
        };
        if guilty {
            self.ejections.eject(health, self, now);
        }
    }

    fn is_error(&self, status: StatusCode) -> bool {
        match self.rule.statuses.as_slice() {
            [] => status.is_server_error(),
            named => named.contains(&status),
        }
    }
}

fn is_gateway_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

fn count(bad: bool, errors: &AtomicU32, limit: u32) -> bool {
    if !bad {
        reset(errors);
        return false;
    }
    strike(errors, limit)
}

/// One more in a row; true when that makes the limit, from where the row starts anew.
fn strike(errors: &AtomicU32, limit: u32) -> bool {
    if limit == 0 || errors.fetch_add(1, Ordering::Relaxed) + 1 < limit {
        return false;
    }
    errors.store(0, Ordering::Relaxed);
    true
}

/// Who is out of one upstream. The same value in every snapshot.
#[derive(Debug)]
pub struct Ejections {
    epoch: Instant,
    active: AtomicUsize,
    total: AtomicU64,
    /// Counts up with every change.
    version: AtomicU64,
    /// In milliseconds; `u64::MAX` while there is nothing to look for.
    next_look: AtomicU64,
    watched: Mutex<Watched>,
}

/// Those who are out, and those who were and whose next time is longer for it.
#[derive(Debug, Default)]
struct Watched {
    interval: u64,
    endpoints: Vec<Arc<Health>>,
}

impl Default for Ejections {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            active: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            version: AtomicU64::new(0),
            next_look: AtomicU64::new(u64::MAX),
            watched: Mutex::default(),
        }
    }
}

impl Ejections {
    /// How many are out.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How many ejections there have been.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Changes whenever somebody is put out or comes back.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Lets back in who may come back, once for each interval.
    pub fn look(&self, now: Instant) {
        let due = self.next_look.load(Ordering::Relaxed);
        if due == u64::MAX || self.millis(now) < due {
            return;
        }
        let mut watched = self.watched.lock();
        let (now, due) = (self.millis(now), self.next_look.load(Ordering::Relaxed));
        if now < due {
            return;
        }
        let Watched { interval, endpoints } = &mut *watched;
        let looks = u32::try_from(1 + (now - due) / *interval).unwrap_or(u32::MAX);
        endpoints.retain(|health| self.stays_watched(health, now, looks));
        let next = if endpoints.is_empty() { u64::MAX } else { now + *interval };
        self.next_look.store(next, Ordering::Relaxed);
    }

    fn stays_watched(&self, health: &Arc<Health>, now: u64, looks: u32) -> bool {
        let gone = Arc::strong_count(health) == 1;
        if health.is_out() {
            if !gone && now < health.back_at.load(Ordering::Relaxed) {
                return true;
            }
            health.forgive();
            health.out.store(false, Ordering::Relaxed);
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.version.fetch_add(1, Ordering::Release);
            return !gone;
        }
        // Every look that finds it in takes one from the count that makes its next ejection longer.
        let times = health.times.load(Ordering::Relaxed).saturating_sub(looks);
        health.times.store(times, Ordering::Relaxed);
        !gone && times > 0
    }

    fn eject(&self, health: &Arc<Health>, judge: &Judge, now: Instant) {
        let mut watched = self.watched.lock();
        if health.is_out() || !self.may_eject(judge) {
            return;
        }
        let times = health.times.load(Ordering::Relaxed) + 1;
        let base = judge.rule.base_ejection;
        let lasts = base.saturating_mul(times).min(base.max(LONGEST));
        let now = self.millis(now);
        health.times.store(times, Ordering::Relaxed);
        health.back_at.store(now.saturating_add(whole_millis(lasts)), Ordering::Relaxed);
        health.out.store(true, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
        watched.interval = whole_millis(judge.rule.interval).max(1);
        if !watched.endpoints.iter().any(|known| Arc::ptr_eq(known, health)) {
            watched.endpoints.push(Arc::clone(health));
        }
        let look = self.next_look.load(Ordering::Relaxed).min(now.saturating_add(watched.interval));
        self.next_look.store(look, Ordering::Relaxed);
    }

    /// The first one always, then as many as the percentage allows.
    fn may_eject(&self, judge: &Judge) -> bool {
        let percent = judge.rule.max_ejection_percent as usize;
        let active = self.active();
        percent > 0 && (active == 0 || (active + 1) * 100 <= judge.members * percent)
    }

    fn millis(&self, now: Instant) -> u64 {
        whole_millis(now.saturating_duration_since(self.epoch))
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
