//! Loads by address: a new snapshot finds the counts of the one before it.

use super::Load;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

/// Below this many addresses, forgotten ones are not looked for.
const SWEEP_FROM: usize = 1024;

/// The load of each address that an endpoint or an open connection still has.
///
/// By IP address, not by port: a pod's ports share its cores.
#[derive(Debug, Default)]
pub struct Loads {
    by_ip: HashMap<IpAddr, Weak<Load>>,
    sweep_at: usize,
}

impl Loads {
    /// The load of an address, the same one for as long as anything holds it.
    pub fn of(&mut self, ip: IpAddr) -> Arc<Load> {
        if let Some(load) = self.by_ip.get(&ip).and_then(Weak::upgrade) {
            return load;
        }
        self.sweep();
        let load = Arc::default();
        self.by_ip.insert(ip, Arc::downgrade(&load));
        load
    }

    /// Forgets addresses that nothing holds, each time their number has doubled: amortised, an insert stays O(1).
    fn sweep(&mut self) {
        if self.by_ip.len() < self.sweep_at.max(SWEEP_FROM) {
            return;
        }
        self.by_ip.retain(|_, load| load.strong_count() > 0);
        self.sweep_at = self.by_ip.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn an_address_keeps_its_load_while_it_is_held_and_is_forgotten_after() {
        let mut loads = Loads::default();
        let held = loads.of(Ipv4Addr::LOCALHOST.into());
        for n in 0..10_000u32 {
            loads.of(Ipv4Addr::from(0x0a00_0000 + n).into());
        }
        assert!(Arc::ptr_eq(&held, &loads.of(Ipv4Addr::LOCALHOST.into())));
        assert!(loads.by_ip.len() <= SWEEP_FROM, "{} addresses kept", loads.by_ip.len());
    }
}
