//! Upstream connections between requests.
//!
//! One shard per core, a thread keeps to its own and looks into the others only when that is empty: a connection is
//! best used again where its socket was registered and its memory is warm, and no lock is waited for.

use super::Upstreams;
use super::line::Line;
use super::session::Sessions;
use crate::vocab::own_shard;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Open connections of the whole agent, by key. One per agent, shared by every captured connection.
pub struct Pool<U: Upstreams> {
    shards: Box<[Mutex<Shard<U>>]>,
    /// Idle HTTP/1 connections of one key in one shard.
    most: usize,
    /// Mirrors' copies under way.
    copies: AtomicUsize,
}

struct Shard<U: Upstreams> {
    /// The one used last is at the back and goes first, so that the surplus at the front grows old and is closed.
    resting: HashMap<U::Key, VecDeque<Resting<U>>>,
    sessions: HashMap<U::Key, Arc<Sessions<U>>>,
}

struct Resting<U: Upstreams> {
    line: Box<Line<U>>,
    since: Instant,
    /// Of the line; here, it is found without touching that.
    shares: bool,
}

/// Mirrors' copies of the whole agent: a mirror that hangs must not fill the memory.
const COPIES: usize = 256;
/// Idle HTTP/1 connections of one key in the whole agent.
const MOST: usize = 128;
/// Longer than a client's pause, shorter than the idle limits of common servers is not possible (Node: 5 s), so a
/// connection may be closed under us at any time and the keep-alive race is handled where it happens.
pub(super) const IDLE: Duration = Duration::from_secs(90);
/// How long a closed peer's connection may stay half-open.
const ROUND: Duration = Duration::from_secs(1);

impl<U: Upstreams> Pool<U> {
    /// An empty pool.
    pub fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let shard = || Mutex::new(Shard { resting: HashMap::new(), sessions: HashMap::new() });
        Self { shards: (0..cores).map(|_| shard()).collect(), most: MOST.div_ceil(cores), copies: AtomicUsize::new(0) }
    }

    /// Closes what idled too long or whose peer went, forever. To be run beside the listeners, once per agent.
    pub async fn maintain(&self) {
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = round.tick().await;
            self.shards.iter().for_each(|shard| lock(shard).close_old(now));
        }
    }

    /// Closes every idle connection of this key: its endpoint or its identity went. Busy ones end by themselves.
    pub fn forget(&self, key: &U::Key) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let resting = shard.resting.remove(key);
            shard.sessions.remove(key);
            drop(shard);
            resting.into_iter().flatten().for_each(|resting| resting.line.retire());
        }
    }

    /// Idle HTTP/1 connections of all keys.
    pub fn idle(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).resting.values().map(VecDeque::len).sum::<usize>()).sum()
    }

    /// The connection that was used last, of this thread if there is one; before those that share their way.
    pub(super) fn take(&self, key: &U::Key) -> Option<Box<Line<U>>> {
        loop {
            let line = self.take_any(key)?;
            if !line.is_worn() {
                return Some(line);
            }
            line.retire();
        }
    }

    fn take_any(&self, key: &U::Key) -> Option<Box<Line<U>>> {
        let mine = self.mine();
        if let Some(line) = lock(&self.shards[mine]).take(key) {
            return Some(line);
        }
        let others = self.shards.iter().enumerate().filter(|(index, _)| *index != mine);
        others.filter_map(|(_, shard)| shard.try_lock().ok()).find_map(|mut shard| shard.take(key))
    }

    /// Keeps a connection if it is at rest.
    pub(super) fn put(&self, mut line: Box<Line<U>>) {
        if !line.rests() {
            return;
        }
        if line.is_worn() {
            return line.retire();
        }
        let surplus = lock(&self.shards[self.mine()]).put(line, self.most);
        if let Some(surplus) = surplus {
            surplus.line.retire();
        }
    }

    /// This thread's HTTP/2 sessions.
    pub(super) fn sessions(&self, key: &U::Key) -> Arc<Sessions<U>> {
        let mut shard = lock(&self.shards[self.mine()]);
        if let Some(sessions) = shard.sessions.get(key) {
            return Arc::clone(sessions);
        }
        Arc::clone(shard.sessions.entry(key.clone()).or_default())
    }

    /// A place for a mirror's copy, until the result is dropped; none if too many are under way.
    pub(super) fn place_for_copy(self: &Arc<Self>) -> Option<CopyPlace<U>> {
        let place = CopyPlace(Arc::clone(self));
        let before = self.copies.fetch_add(1, Ordering::Relaxed);
        (before < COPIES).then_some(place)
    }

    fn mine(&self) -> usize {
        own_shard(self.shards.len())
    }
}

/// See [`Pool::place_for_copy`].
pub(super) struct CopyPlace<U: Upstreams>(Arc<Pool<U>>);

impl<U: Upstreams> Drop for CopyPlace<U> {
    fn drop(&mut self) {
        self.0.copies.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<U: Upstreams> Default for Pool<U> {
    fn default() -> Self {
        Self::new()
    }
}

impl<U: Upstreams> Shard<U> {
    fn take(&mut self, key: &U::Key) -> Option<Box<Line<U>>> {
        let of_key = self.resting.get_mut(key)?;
        let alone = of_key.iter().rposition(|resting| !resting.shares);
        let at = alone.or_else(|| of_key.len().checked_sub(1))?;
        of_key.remove(at).map(|resting| resting.line)
    }

    fn put(&mut self, line: Box<Line<U>>, most: usize) -> Option<Resting<U>> {
        let resting = Resting { since: Instant::now(), shares: line.shares, line };
        let Some(of_key) = self.resting.get_mut(&resting.line.key) else {
            self.resting.insert(resting.line.key.clone(), VecDeque::from([resting]));
            return None;
        };
        of_key.push_back(resting);
        if of_key.len() > most { of_key.pop_front() } else { None }
    }

    fn close_old(&mut self, now: Instant) {
        for of_key in self.resting.values_mut() {
            for _ in 0..of_key.len() {
                let Some(mut resting) = of_key.pop_front() else { break };
                let idle = resting.line.wear.idle.unwrap_or(IDLE);
                if now.duration_since(resting.since) > idle || resting.line.is_worn() {
                    resting.line.retire();
                } else if resting.line.rests() {
                    of_key.push_back(resting);
                }
            }
        }
        self.resting.retain(|_, of_key| !of_key.is_empty());
        self.sessions.retain(|_, sessions| sessions.close_old(now) || Arc::strong_count(sessions) > 1);
    }
}

/// Nothing panics while it holds a shard but a broken invariant of hyper's; the map itself is whole even then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
