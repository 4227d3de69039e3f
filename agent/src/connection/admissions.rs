//! Connections that were let in: one that a changed policy no longer lets in is ended, the others notice nothing.
//!
//! A pod's connections are decided about again only where the policies for this pod, or the pod itself, changed.

use super::admit;
use super::failed::Failed;
use crate::model::Workload;
use crate::policy::{Connection, Peer};
use crate::snapshot::{Reader, Snapshot};
use crate::vocab::WorkloadId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

/// All open connections to pods of this node.
#[derive(Debug, Default)]
pub struct Admissions {
    pods: Mutex<HashMap<WorkloadId, Pod>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Pod {
    workload: Arc<Workload>,
    connections: HashMap<u64, Admitted>,
}

/// A connection, with what it was decided by.
#[derive(Debug)]
struct Admitted {
    peer: Peer,
    source: IpAddr,
    destination: SocketAddr,
    carried: Carried,
    end: oneshot::Sender<Failed>,
}

/// What is done with the bytes of an open connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// They go to the application; nobody has looked at them.
    Unheard,
    /// They go to the application, and are no requests. The name in the client's TLS hello, if there is one, and the
    /// external authorizers that allow it.
    Opaque(Option<Arc<str>>, Arc<[Arc<str>]>),
    /// Each request is decided about by itself.
    Requests,
}

/// An open connection's place among them; given up when it is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<Admissions>,
    pod: WorkloadId,
    number: u64,
    ended: oneshot::Receiver<Failed>,
}

impl Admissions {
    /// Adds a connection that was let in.
    pub fn hold(self: &Arc<Self>, workload: &Arc<Workload>, connection: &Connection<'_>, carried: Carried) -> Held {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        let (peer, source, destination) = (connection.peer.clone(), connection.source, connection.destination);
        let pod = workload.id.clone();
        let mut pods = self.pods.lock();
        let new = || Pod { workload: Arc::clone(workload), connections: HashMap::new() };
        let there = pods.entry(pod.clone()).or_insert_with(new);
        there.connections.insert(number, Admitted { peer, source, destination, carried, end });
        drop(pods);
        Held { all: Arc::clone(self), pod, number, ended }
    }

    /// Looks at every snapshot, until there are no more.
    pub async fn watch(&self, mut snapshots: Reader) {
        let mut before = snapshots.snapshot();
        while snapshots.changed().await.is_ok() {
            let now = snapshots.snapshot();
            self.review(&before, &now);
            before = now;
        }
    }

    fn review(&self, before: &Snapshot, now: &Snapshot) {
        let same_tokens = now.authentications.same(&before.authentications);
        for (id, pod) in self.pods.lock().iter_mut() {
            // Of a pod that is gone the connections end by themselves.
            let Some(workload) = now.workload(id) else { continue };
            let same = same_tokens && now.policies.same_for(&before.policies, workload);
            if same && Arc::ptr_eq(workload, &pod.workload) {
                continue;
            }
            pod.workload = Arc::clone(workload);
            let denied = |(number, one): (&u64, &Admitted)| Some((*number, one.denial(now, workload)?));
            let denied: Vec<_> = pod.connections.iter().filter_map(denied).collect();
            for (number, failed) in denied {
                // Where it has ended meanwhile, nobody listens.
                let _ = pod.connections.remove(&number).map(|one| one.end.send(failed));
            }
        }
    }

    fn leave(&self, pod: &WorkloadId, number: u64) {
        let mut pods = self.pods.lock();
        let Some(there) = pods.get_mut(pod) else { return };
        there.connections.remove(&number);
        if there.connections.is_empty() {
            pods.remove(pod);
        }
    }
}

impl Admitted {
    fn denial(&self, now: &Snapshot, workload: &Workload) -> Option<Failed> {
        let connection = Connection::new(&self.peer, self.source, self.destination);
        let failed = match &self.carried {
            Carried::Unheard => admit::unheard(now, workload, &connection).err()?,
            Carried::Opaque(sni, asked) => {
                admit::decide(now, workload, &connection.with_sni(sni.as_deref()), asked).unasked().err()?
            }
            Carried::Requests => admit::denial(now, workload, &connection)?,
        };
        Some(Failed { reason: format!("{}; it was open when that changed", failed.reason), ..failed })
    }
}

impl Held {
    /// What it is said, by now.
    pub fn carries(&self, carried: Carried) {
        let mut pods = self.all.pods.lock();
        let there = pods.get_mut(&self.pod).and_then(|pod| pod.connections.get_mut(&self.number));
        if let Some(one) = there {
            one.carried = carried;
        }
    }

    /// Does what a connection does, until it is denied.
    ///
    /// # Errors
    /// What `work` says, or the denial. The caller cuts both ends.
    pub async fn during<T>(&mut self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        tokio::select! {
            biased;
            done = work => done,
            // Work that uses up its turn would leave none for this.
            failed = unconstrained(self.denied()) => Err(failed),
        }
    }

    async fn denied(&mut self) -> Failed {
        match (&mut self.ended).await {
            Ok(failed) => failed,
            Err(_) => std::future::pending().await,
        }
    }

    /// Cuts a stream that others own when it is denied.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn guard(mut self, stream: &TcpStream) -> std::io::Result<Guarded> {
        let socket = socket2::SockRef::from(stream).try_clone()?;
        Ok(Guarded(tokio::spawn(async move {
            self.denied().await;
            let _ = socket.shutdown(std::net::Shutdown::Both);
        })))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.leave(&self.pod, self.number);
    }
}

/// A stream that is cut when it is denied, as long as this lives.
#[derive(Debug)]
pub struct Guarded(JoinHandle<()>);

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
