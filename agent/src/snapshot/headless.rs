//! Headless Services by the addresses of their endpoints: what a client means that connects to a pod of one.

use super::many::Many;
use crate::route::Frontend;
use crate::vocab::Hostname;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

/// A service, and which of its ports.
type Meant = (Arc<Frontend>, u16);

/// The Services that have an address among their endpoints; the first by name is meant.
#[derive(Default)]
pub(super) struct Headless {
    claims: Many<SocketAddr, Hostname, Meant>,
    of: HashMap<Hostname, Vec<SocketAddr>>,
}

impl Headless {
    /// A host was compiled, or is gone.
    pub(super) fn replace(
        &mut self,
        host: &Hostname,
        frontend: Option<&Arc<Frontend>>,
        table: &mut imbl::HashMap<SocketAddr, Meant>,
    ) {
        let old = self.of.remove(host).unwrap_or_default();
        let new = frontend.filter(|frontend| frontend.backends().is_headless()).map(endpoints).unwrap_or_default();
        for address in old.iter().filter(|address| !new.contains_key(address)) {
            self.claims.set(address, host, None);
            self.show(address, table);
        }
        for (address, meant) in &new {
            self.claims.set(address, host, Some(meant.clone()));
            self.show(address, table);
        }
        if !new.is_empty() {
            self.of.insert(host.clone(), new.into_keys().collect());
        }
    }

    fn show(&self, address: &SocketAddr, table: &mut imbl::HashMap<SocketAddr, Meant>) {
        match self.claims.values(address).next() {
            Some(meant) => table.insert(*address, meant.clone()),
            None => table.remove(address),
        };
    }
}

fn endpoints(frontend: &Arc<Frontend>) -> BTreeMap<SocketAddr, Meant> {
    let ports = frontend.backends().ports().iter().rev();
    let all = ports.flat_map(|port| port.whole.group.ready().iter().map(|endpoint| (endpoint.address, port.number())));
    all.map(|(address, number)| (address, (Arc::clone(frontend), number))).collect()
}
