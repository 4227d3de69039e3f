//! `sessionAffinity: ClientIP`: the endpoint that each client had last.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Below this many clients, old ones are not looked for. A node has a few hundred pods.
const SWEEP_FROM: usize = 1024;

/// The clients of one upstream. The same value in every snapshot.
#[derive(Debug, Default)]
pub struct Clients(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_ip: HashMap<IpAddr, (SocketAddr, Instant)>,
    sweep_at: usize,
}

impl Clients {
    /// The endpoint that a client used less than that long ago.
    pub fn endpoint_of(&self, client: IpAddr, now: Instant, lasts: Duration) -> Option<SocketAddr> {
        let known = self.0.lock();
        let (endpoint, used) = known.by_ip.get(&client)?;
        (now.saturating_duration_since(*used) < lasts).then_some(*endpoint)
    }

    /// A client uses an endpoint.
    pub fn keep(&self, client: IpAddr, endpoint: SocketAddr, now: Instant, lasts: Duration) {
        let mut known = self.0.lock();
        if known.by_ip.len() >= known.sweep_at.max(SWEEP_FROM) {
            known.by_ip.retain(|_, (_, used)| now.saturating_duration_since(*used) < lasts);
            known.sweep_at = known.by_ip.len() * 2;
        }
        known.by_ip.insert(client, (endpoint, now));
    }
}
