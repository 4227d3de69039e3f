//! Warm sessions, waiting for the next connection between the same two workloads.

use super::session::Session;
use crate::vocab::SpiffeId;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sessions that may wait for one key; what a burst left behind beyond that is closed.
const MOST_IDLE: usize = 64;
/// How long a session waits. The server's side waits longer ([`SERVER_IDLE`](super::SERVER_IDLE)), so that it is the client who closes.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Sessions are renewed at that age, so that a rotated certificate comes into use.
pub(super) const OLDEST: Duration = Duration::from_secs(3600);

/// Whom a session belongs to: it is never lent to another source or for another destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The source pod's address.
    pub source: IpAddr,
    /// The source's identity.
    pub source_id: SpiffeId,
    /// The application's address.
    pub destination: SocketAddr,
    /// The identity that the peer has proven.
    pub destination_id: SpiffeId,
}

/// Idle sessions by key, newest first out: the busy ones stay warm, the rest grow old and go.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<PoolKey, Vec<Session>>>,
}

impl Pool {
    /// Takes a session that is ready for a connection.
    pub fn take(&self, key: &PoolKey) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = idle.get_mut(key)?;
        while let Some(session) = sessions.pop() {
            if session.is_reusable() {
                return Some(session);
            }
        }
        None
    }

    /// Gives a session back after a connection that ended cleanly.
    pub fn give(&self, key: PoolKey, mut session: Session) {
        if session.retiring || session.born.elapsed() > OLDEST {
            return;
        }
        session.wire.shrink();
        session.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = idle.entry(key).or_default();
        if sessions.len() < MOST_IDLE {
            sessions.push(session);
        }
    }

    /// Lets go what has waited too long or has ended meanwhile. Call it every few seconds.
    pub fn sweep(&self) {
        self.retain(|_, session| session.idle_since.elapsed() < IDLE && session.is_reusable());
    }

    /// Lets go the sessions that `which` picks: a pod at one end is gone.
    pub fn forget(&self, which: impl Fn(&PoolKey) -> bool) {
        self.retain(|key, _| !which(key));
    }

    /// Sessions that wait.
    pub fn idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }

    fn retain(&self, keep: impl Fn(&PoolKey, &Session) -> bool) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, sessions| {
            sessions.retain(|session| keep(key, session));
            !sessions.is_empty()
        });
    }
}
