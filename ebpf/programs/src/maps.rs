//! The maps. All are pinned, so they outlive the agent; each agent of a kernel has its own.

use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, SockHash};
use underpass_ebpf_shared::{Address, Enrolled, Flow, FlowKey, Settings, SocketMemory, Trusted, Tuple, limits};

/// The captured network namespaces, by cookie.
#[map]
pub static PODS: HashMap<u64, Enrolled> = HashMap::pinned(limits::PODS, 0);

/// Where captured connections wanted to go, as the agent asks after `accept`.
#[map]
pub static FLOWS: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(limits::FLOWS, 0);

/// Connections of the agent and of the kubelet to applications: the lookup hook lets them through.
#[map]
pub static TRUSTED: LruHashMap<Tuple, Trusted> = LruHashMap::pinned(limits::TRUSTED, 0);

/// The agent's inbound listeners, by the address they serve.
#[map]
pub static INBOUND: SockHash<Address> = SockHash::pinned(limits::INBOUND, 0);

/// What the agent said.
#[map]
pub static SETTINGS: Array<Settings> = Array::pinned(1, 0);

/// What is known of a socket, freed with it. The loader pins it by path: BTF maps carry no pinning here.
#[btf_map]
pub static SOCKETS: SkStorage<SocketMemory> = SkStorage::new();

/// The agent's settings; none before its first start, and then nothing is captured.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// Whether the namespace is captured by the agent that these maps belong to.
#[inline(always)]
pub fn is_enrolled(netns: u64) -> bool {
    PODS.get_ptr(netns).is_some()
}
