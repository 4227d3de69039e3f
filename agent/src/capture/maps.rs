//! The maps as the agent uses them. Reading a destination takes no lock; everything else is rare.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, SockHash};
use thiserror::Error;
use underpass_ebpf_shared::limits::{self, maps as names};
use underpass_ebpf_shared::{Address, Enrolled, Flow, FlowKey, Settings, Trusted, Tuple};

/// A map could not be opened, read or written.
#[derive(Debug, Error)]
#[error("eBPF map {map}")]
pub struct MapFailed {
    map: &'static str,
    #[source]
    cause: MapError,
}

/// How many entries each map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Captured network namespaces.
    pub pods: usize,
    /// Captured connections.
    pub flows: usize,
    /// Connections of the agent to applications that are being set up.
    pub trusted: usize,
}

/// The pinned maps of one agent.
pub(super) struct Maps {
    flows: HashMap<MapData, FlowKey, Flow>,
    writers: Mutex<Writers>,
}

struct Writers {
    settings: Array<MapData, Settings>,
    pods: HashMap<MapData, u64, Enrolled>,
    flows: HashMap<MapData, FlowKey, Flow>,
    trusted: HashMap<MapData, Tuple, Trusted>,
    inbound: SockHash<MapData, Address>,
}

impl Maps {
    /// Opens the maps that the loader pinned, and writes the settings.
    pub(super) fn open(pin_dir: &Path, settings: Settings) -> Result<Self, MapFailed> {
        let directory = directory(pin_dir);
        let mut array = Array::try_from(pinned(&directory, names::SETTINGS)?).map_err(of(names::SETTINGS))?;
        array.set(0, settings, 0).map_err(of(names::SETTINGS))?;
        let writers = Writers {
            settings: array,
            pods: hash(&directory, names::PODS)?,
            flows: hash(&directory, names::FLOWS)?,
            trusted: hash(&directory, names::TRUSTED)?,
            inbound: SockHash::try_from(pinned(&directory, names::INBOUND)?).map_err(of(names::INBOUND))?,
        };
        Ok(Self { flows: hash(&directory, names::FLOWS)?, writers: Mutex::new(writers) })
    }

    /// Tells the programs whose connections from outside of a pod are probes; 0: nobody's.
    pub(super) fn set_kubelet(&self, cgroup: u64) -> Result<(), MapFailed> {
        let array = &mut self.writers().settings;
        let settings = Settings { kubelet_cgroup: cgroup, ..array.get(&0, 0).map_err(of(names::SETTINGS))? };
        array.set(0, settings, 0).map_err(of(names::SETTINGS))
    }

    pub(super) fn enrol(&self, netns: u64) -> Result<(), MapFailed> {
        self.writers().pods.insert(netns, Enrolled::default(), 0).map_err(of(names::PODS))
    }

    /// Captures nothing more there; what is on record of the namespace goes too.
    pub(super) fn withdraw(&self, netns: u64) -> Result<(), MapFailed> {
        let mut writers = self.writers();
        gone(writers.pods.remove(&netns)).map_err(of(names::PODS))?;
        forget(&mut writers.flows, |key, _| key.netns == netns).map_err(of(names::FLOWS))?;
        forget(&mut writers.trusted, |_, trusted| trusted.netns == netns).map_err(of(names::TRUSTED))
    }

    pub(super) fn enrolled(&self) -> Result<Vec<u64>, MapFailed> {
        self.writers().pods.keys().collect::<Result<_, _>>().map_err(of(names::PODS))
    }

    pub(super) fn set_inbound(&self, ip: IpAddr, listener: &impl AsRawFd) -> Result<(), MapFailed> {
        let fd = listener.as_raw_fd();
        self.writers().inbound.insert(Address::from(ip), fd, 0).map_err(of(names::INBOUND))
    }

    pub(super) fn clear_inbound(&self, ip: IpAddr) -> Result<(), MapFailed> {
        gone(self.writers().inbound.remove(&Address::from(ip))).map_err(of(names::INBOUND))
    }

    pub(super) fn original(&self, netns: u64, source: SocketAddr) -> Option<SocketAddr> {
        let key = FlowKey::new(netns, Address::from(source.ip()), source.port());
        let flow = self.flows.get(&key, 0).ok()?;
        Some(SocketAddr::new(flow.original.into(), flow.original_port))
    }

    pub(super) fn counts(&self) -> Counts {
        let writers = self.writers();
        Counts {
            pods: writers.pods.keys().count(),
            flows: writers.flows.keys().count(),
            trusted: writers.trusted.keys().count(),
        }
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        // Every write is a single system call, so a panic elsewhere leaves nothing half done.
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where maps of this layout are pinned: those of another are never reused.
pub(super) fn directory(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("maps-{}", limits::LAYOUT))
}

fn pinned(directory: &Path, name: &'static str) -> Result<Map, MapFailed> {
    MapData::from_pin(directory.join(name)).and_then(Map::from_map_data).map_err(of(name))
}

fn hash<K: Pod, V: Pod>(directory: &Path, name: &'static str) -> Result<HashMap<MapData, K, V>, MapFailed> {
    HashMap::try_from(pinned(directory, name)?).map_err(of(name))
}

fn forget<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, is_gone: impl Fn(&K, &V) -> bool) -> Result<(), MapError> {
    // An entry that the kernel removes meanwhile ends the walk early with an error; what it missed has an end too.
    let stale: Vec<K> =
        map.iter().map_while(Result::ok).filter(|(key, value)| is_gone(key, value)).map(|(key, _)| key).collect();
    stale.iter().try_for_each(|key| gone(map.remove(key)))
}

/// What is absent already need not be removed.
fn gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn of(map: &'static str) -> impl Fn(MapError) -> MapFailed {
    move |cause| MapFailed { map, cause }
}
