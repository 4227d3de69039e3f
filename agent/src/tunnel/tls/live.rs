//! The tunnels that are open, so that one can be ended from outside: its peer's certificate was revoked.

use super::stream::TlsStream;
use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

type Chain = Arc<[CertificateDer<'static>]>;

/// All tunnels of this agent, by the chain that their peers have shown.
#[derive(Clone, Default)]
pub struct Live(Arc<Table>);

#[derive(Default)]
struct Table {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Tunnel>>,
}

struct Tunnel {
    chain: Chain,
    socket: RawFd,
    why: Arc<OnceLock<&'static str>>,
}

/// A tunnel's place in the table; dropped with it.
pub struct Ended {
    table: Live,
    id: u64,
    why: Arc<OnceLock<&'static str>>,
}

impl Live {
    /// Adds a tunnel whose handshake is done: once per handshake, never per connection.
    pub fn add(&self, tunnel: &mut TlsStream) {
        let (id, why) = (self.0.next.fetch_add(1, Ordering::Relaxed), Arc::default());
        let (chain, socket) = (tunnel.info().peer_certificates.clone(), tunnel.tcp().as_raw_fd());
        self.0.open.lock().insert(id, Tunnel { chain, socket, why: Arc::clone(&why) });
        tunnel.live(Ended { table: self.clone(), id, why });
    }

    /// Ends the tunnels whose peers' chains are picked; says how many. Both sessions that carry a connection and those
    /// that wait for one: whoever reads or writes them sees an end, with the reason.
    pub fn end(&self, why: &'static str, which: impl Fn(&[CertificateDer<'static>]) -> bool) -> u64 {
        let chains: Vec<(u64, Chain)> =
            self.0.open.lock().iter().map(|(id, tunnel)| (*id, tunnel.chain.clone())).collect();
        // A chain is judged once, however many tunnels its peer has, and nobody waits for that.
        let mut judged: HashMap<Chain, bool> = HashMap::new();
        let picked = chains.into_iter().filter(|(_, chain)| match judged.get(chain) {
            Some(picked) => *picked,
            None => *judged.entry(chain.clone()).or_insert_with_key(|chain| which(chain)),
        });
        let picked: Vec<u64> = picked.map(|(id, _)| id).collect();
        let open = self.0.open.lock();
        let tunnels = picked.iter().filter_map(|id| open.get(id));
        // Under the lock a socket's number is still its own. Of one that broke by itself there is nothing to end.
        let ended = tunnels.filter(|tunnel| {
            let first = tunnel.why.set(why).is_ok();
            first && shutdown(tunnel.socket, Shutdown::Both).is_ok()
        });
        ended.count() as u64
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.0.open.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Ended {
    /// Why the tunnel was ended, if it was.
    pub(super) fn why(&self) -> Option<&'static str> {
        self.why.get().copied()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.table.0.open.lock().remove(&self.id);
    }
}
