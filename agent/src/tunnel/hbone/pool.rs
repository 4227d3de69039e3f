//! Sessions to peers, shared by the tunnels of one source to one destination.

use super::baggage::Baggage;
use super::header::{Connect, InvalidConnect};
use super::refusal::Refusal;
use super::session::{Answer, Session};
use super::stream::Stream;
use crate::vocab::SpiffeId;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

/// An unused session is given back after this time: ztunnel's.
const IDLE: Duration = Duration::from_secs(300);
/// How often a session looks whether it is unused.
const IDLE_CHECK: Duration = Duration::from_secs(30);
/// Sessions that may fail under a request before it fails too.
const ATTEMPTS: usize = 3;

/// Whose sessions may be shared: the same two identities, seen from the same pod, at the same place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Who opens.
    pub source: SpiffeId,
    /// The source pod: its address is the session's source address.
    pub source_address: IpAddr,
    /// Who must answer.
    pub destination: SpiffeId,
    /// Where, port 15008 of the pod.
    pub address: SocketAddr,
}

/// A new tunnel, and what the peer's agent says of its workload.
pub struct Dialled {
    /// The bytes.
    pub stream: Stream,
    /// Empty unless the peer sends it.
    pub baggage: Baggage,
    /// Whether no handshake was needed.
    pub reused: bool,
}

/// No tunnel came of it.
#[derive(Clone, Debug, Error)]
pub enum OpenError {
    /// The transport could not be established; shared by all who waited for it.
    #[error("{0}")]
    Dial(Arc<dyn std::error::Error + Send + Sync>),
    /// The peer's agent said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The peer reset the stream instead of answering.
    #[error("the peer reset the stream: {0}")]
    Reset(Arc<h2::Error>),
    /// One session after the other broke.
    #[error("the session broke before an answer came: {0}")]
    Broken(Arc<h2::Error>),
    /// The request cannot be written.
    #[error(transparent)]
    Request(#[from] InvalidConnect),
}

/// All sessions that this agent opened. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pool {
    peers: Arc<Peers>,
    drivers: TaskTracker,
}

type Peers = Mutex<HashMap<PoolKey, Arc<Peer>>>;

#[derive(Default)]
struct Peer {
    sessions: Mutex<Vec<Arc<Session>>>,
    /// Held by the one who dials; the others wait for it and use what came of it.
    dialling: tokio::sync::Mutex<()>,
    /// The last dial's number and failure.
    outcome: Mutex<(u64, Option<OpenError>)>,
}

impl Pool {
    /// Opens a tunnel in a session that has room, or in a new one over what `dial` establishes: TLS
    /// with ALPN `h2`, as the key's source, its peer already checked to be the key's destination.
    /// Calls of `dial` for one key follow one another; a dial that fails fails all who waited for it.
    ///
    /// A request that the peer did not touch (GOAWAY, REFUSED_STREAM), or whose pooled session turned
    /// out dead, goes to another session: no byte of the application was sent before the answer.
    pub async fn open<D, F, S, E>(&self, key: &PoolKey, connect: &Connect, dial: D) -> Result<Dialled, OpenError>
    where
        D: Fn() -> F,
        F: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let request = connect.encode()?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let (session, place, reused) = self.session(key, &dial).await?;
            match session.connect(request.clone(), place).await {
                Answer::Open(stream, baggage) => return Ok(Dialled { stream, baggage, reused }),
                Answer::Refused(refusal) => return Err(refusal.into()),
                Answer::Reset(error) => return Err(OpenError::Reset(Arc::new(error))),
                Answer::Broken(error) if !reused => return Err(OpenError::Broken(Arc::new(error))),
                Answer::Untouched(error) | Answer::Broken(error) => {
                    forget(&self.peers, key, &session);
                    last = Some(OpenError::Broken(Arc::new(error)));
                }
            }
        }
        Err(last.unwrap_or(OpenError::Refused(Refusal::Unreachable)))
    }

    /// Lets the sessions go that `which` picks: they take no new tunnel, and say GOAWAY when their
    /// last one ends.
    pub fn retire(&self, which: impl Fn(&PoolKey) -> bool) {
        self.lock().retain(|key, _| !which(key));
    }

    /// Cuts the sessions that `which` picks, tunnels and all: the identity is no longer allowed, or
    /// the pod is gone.
    pub fn cut(&self, which: impl Fn(&PoolKey) -> bool) {
        self.lock().retain(|key, peer| {
            let cut = which(key);
            if cut {
                peer.lock().iter().for_each(|session| session.cut());
            }
            !cut
        });
    }

    /// Retires every session and waits until all have ended.
    pub async fn drain(&self) {
        self.retire(|_| true);
        self.drivers.close();
        self.drivers.wait().await;
    }

    /// Sessions that stand, and tunnels in them.
    pub fn size(&self) -> (usize, usize) {
        let peers = self.lock();
        let sessions = peers.values().flat_map(|peer| peer.lock().clone());
        sessions.fold((0, 0), |(sessions, streams), session| (sessions + 1, streams + session.open_streams()))
    }

    /// A session with a place in it, and whether it stood already.
    async fn session<D, F, S, E>(
        &self,
        key: &PoolKey,
        dial: &D,
    ) -> Result<(Arc<Session>, OwnedSemaphorePermit, bool), OpenError>
    where
        D: Fn() -> F,
        F: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        loop {
            let peer = self.lock().entry(key.clone()).or_default().clone();
            if let Some((session, place)) = peer.vacant() {
                return Ok((session, place, true));
            }
            let seen = peer.dials();
            let _dialling = peer.dialling.lock().await;
            if peer.dialled_since(seen)? {
                continue;
            }
            let established = establish(dial()).await;
            peer.conclude(established.as_ref().err().cloned());
            let (session, driver) = established?;
            let session = Arc::new(session);
            let place = session.place();
            self.admit(key, &peer, &session, driver);
            if let Some(place) = place {
                return Ok((session, place, false));
            }
        }
    }

    /// Takes a session in, and out again when it ends or is of no use.
    fn admit(
        &self,
        key: &PoolKey,
        peer: &Arc<Peer>,
        session: &Arc<Session>,
        driver: impl Future<Output = ()> + Send + 'static,
    ) {
        // The entry may have been removed while the dial took its time.
        self.lock().entry(key.clone()).or_insert_with(|| peer.clone()).lock().push(session.clone());
        let (peers, session) = (Arc::downgrade(&self.peers), Arc::downgrade(session));
        self.drivers.spawn(watch_over(peers, key.clone(), session, driver));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolKey, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives a session to its end; takes it out of the pool then, or when it is of no use before.
async fn watch_over(peers: Weak<Peers>, key: PoolKey, session: Weak<Session>, driver: impl Future<Output = ()>) {
    let mut driver = std::pin::pin!(driver);
    loop {
        let ended = tokio::time::timeout(IDLE_CHECK, &mut driver).await.is_ok();
        let known = peers.upgrade().zip(session.upgrade());
        if let Some((peers, session)) = known.filter(|(_, session)| ended || session.idle_for() >= IDLE) {
            forget(&peers, &key, &session);
        }
        if ended {
            return;
        }
    }
}

/// Takes a session out of the pool, and its peer if it was the last one and nobody dials.
fn forget(peers: &Peers, key: &PoolKey, session: &Arc<Session>) {
    let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(peer) = peers.get(key) else { return };
    let mut sessions = peer.lock();
    sessions.retain(|known| !Arc::ptr_eq(known, session));
    let unused = sessions.is_empty() && peer.dialling.try_lock().is_ok();
    drop(sessions);
    if unused {
        peers.remove(key);
    }
}

impl Peer {
    /// A place in the first session that has one; those that are dead are dropped on the way.
    fn vacant(&self) -> Option<(Arc<Session>, OwnedSemaphorePermit)> {
        let mut sessions = self.lock();
        sessions.retain(|session| session.is_alive());
        sessions.iter().find_map(|session| session.place().map(|place| (session.clone(), place)))
    }

    fn dials(&self) -> u64 {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether somebody dialled meanwhile; how that failed, if it did.
    fn dialled_since(&self, seen: u64) -> Result<bool, OpenError> {
        match &*self.outcome.lock().unwrap_or_else(PoisonError::into_inner) {
            (dials, Some(error)) if *dials > seen => Err(error.clone()),
            (dials, _) => Ok(*dials > seen),
        }
    }

    fn conclude(&self, failure: Option<OpenError>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        *outcome = (outcome.0 + 1, failure);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn establish<S, E>(
    dial: impl Future<Output = Result<S, E>>,
) -> Result<(Session, impl Future<Output = ()> + Send + 'static), OpenError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let io = dial.await.map_err(|error| OpenError::Dial(Arc::new(error)))?;
    Session::start(io).await.map_err(|error| OpenError::Broken(Arc::new(error)))
}
