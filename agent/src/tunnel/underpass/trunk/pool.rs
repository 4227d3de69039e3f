//! A client's trunks: which connection of two workloads gets a lane, and which a TLS connection of its own.

use super::super::pool::{IDLE, OLDEST, PoolKey};
use super::lane::Lane;
use super::shared::Trunk;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// So many connections between two workloads do not share: what is alone on the way gains nothing by it, and a
/// download has a task, a key and a congestion window of its own.
pub(super) const OWN: usize = 4;

/// The trunks of an agent. `E` is why one could not be made.
pub struct Trunks<E> {
    known: Mutex<HashMap<PoolKey, Arc<Mutex<Known<E>>>>>,
}

/// What there is between two workloads.
struct Known<E> {
    own: usize,
    trunks: Vec<Arc<Trunk>>,
    dialing: Option<watch::Receiver<Option<E>>>,
    /// The peer does not know trunks.
    plain: bool,
}

/// How a connection is to be made.
pub enum Attempt<E> {
    /// With a session of its own; keep this as long.
    Own(Own),
    /// On this lane.
    Lane(Lane),
    /// On a trunk that is still to be made, by whoever got this.
    Dial(Dial<E>),
    /// As soon as another has made it.
    Wait(Wait<E>),
}

/// A connection that does not share.
pub struct Own(Arc<dyn Leave>);

trait Leave: Send + Sync {
    fn leave(&self);
}

impl<E: Send + Sync> Leave for Mutex<Known<E>> {
    fn leave(&self) {
        self.lock().own -= 1;
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The task of making a trunk; given up when it is dropped.
pub struct Dial<E> {
    known: Arc<Mutex<Known<E>>>,
    outcome: watch::Sender<Option<E>>,
}

/// Another is making it.
pub struct Wait<E>(watch::Receiver<Option<E>>);

impl<E: Clone> Wait<E> {
    /// Until there is something new; why there is nothing, if that is so.
    pub async fn done(mut self) -> Option<E> {
        // It is gone where the other gave up: then somebody else tries.
        let _ = self.0.changed().await;
        self.0.borrow().clone()
    }
}

impl<E> Dial<E> {
    /// It is there; its first lane is ours.
    pub fn made(self, trunk: Arc<Trunk>) -> Option<Lane> {
        let lane = trunk.lane();
        self.known.lock().trunks.push(trunk);
        lane
    }

    /// It could not be made: who waits is told.
    pub fn failed(self, why: E) {
        self.outcome.send_replace(Some(why));
    }

    /// The peer does not know trunks.
    pub fn plain(self) {
        self.known.lock().plain = true;
    }
}

impl<E> Drop for Dial<E> {
    fn drop(&mut self) {
        self.known.lock().dialing = None;
    }
}

impl<E> Default for Trunks<E> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<E: Send + Sync + 'static> Trunks<E> {
    /// How to make a connection between these two.
    pub fn attempt(&self, key: &PoolKey) -> Attempt<E> {
        let known = {
            let mut all = self.known.lock();
            match all.get(key) {
                Some(known) => Arc::clone(known),
                None => Arc::clone(all.entry(key.clone()).or_default()),
            }
        };
        let mut now = known.lock();
        if now.own < OWN || now.plain {
            now.own += 1;
            drop(now);
            return Attempt::Own(Own(known));
        }
        if let Some(lane) = now.trunks.iter().find_map(Trunk::lane) {
            return Attempt::Lane(lane);
        }
        if let Some(dialing) = &now.dialing {
            return Attempt::Wait(Wait(dialing.clone()));
        }
        let (outcome, dialing) = watch::channel(None);
        now.dialing = Some(dialing);
        drop(now);
        Attempt::Dial(Dial { known, outcome })
    }

    /// Lets go what is unused, broken or old. Call it every few seconds.
    pub fn sweep(&self) {
        self.known.lock().retain(|_, known| {
            let mut now = known.lock();
            now.trunks.retain(|trunk| {
                let unused = trunk.idle_since().is_some_and(|since| since.elapsed() > IDLE);
                if unused || trunk.born().elapsed() > OLDEST {
                    trunk.retire();
                }
                !trunk.is_spent()
            });
            now.own > 0 || !now.trunks.is_empty() || now.dialing.is_some()
        });
    }

    /// Lets go the trunks that `which` picks: a pod at one end is gone.
    pub fn forget(&self, which: impl Fn(&PoolKey) -> bool) {
        self.known.lock().retain(|key, known| {
            if which(key) {
                known.lock().trunks.drain(..).for_each(|trunk| trunk.retire());
            }
            !which(key)
        });
    }
}

impl<E> Default for Known<E> {
    fn default() -> Self {
        Self { own: 0, trunks: Vec::new(), dialing: None, plain: false }
    }
}
