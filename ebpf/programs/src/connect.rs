//! What both families' connect hooks share: read, decide, remember; the hook then rewrites its own kind of address.

use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_addr, bpf_sock_tuple};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_setsockopt, bpf_sk_lookup_tcp, bpf_sk_release,
};
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::warn;
use underpass_ebpf_shared::decide::{self, Attempt, Connect};
use underpass_ebpf_shared::{Address, Settings, SocketMemory, SocketRole};

use crate::context::{field, user_port};
use crate::maps;
use crate::sockets::{recall, remember};

/// Return value of a connect hook: the system call goes on.
pub const ALLOW: i32 = 1;
/// Return value of a connect hook: the system call fails with EPERM.
pub const REFUSE: i32 = 0;

/// What the hook has to do with its context.
pub enum Outcome {
    /// Nothing.
    Leave,
    /// Send it to the agent.
    Rewrite { listener: Address, port: u16 },
    /// Let the system call fail.
    Refuse,
}

/// Handles one `connect` of a TCP socket.
#[inline(always)]
pub fn handle(ctx: &SockAddrContext, destination: Address) -> Outcome {
    let raw = ctx.sock_addr;
    if !decide::is_tcp(field!(raw, type_), field!(raw, protocol)) {
        return Outcome::Leave;
    }
    let Some(settings) = maps::settings() else {
        return Outcome::Leave;
    };
    let socket = field!(raw, __bindgen_anon_1.sk);
    // SAFETY: the helper has no arguments; the hook runs in the connecting process.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: the helper takes the hook's own context.
    if !maps::is_enrolled(unsafe { bpf_get_netns_cookie(raw.cast()) }) {
        return outside(ctx, socket, settings, cgroup);
    }
    if socket.is_null() {
        return Outcome::Refuse;
    }
    let attempt = Attempt { destination, port: user_port(raw), mark: field!(socket, mark), cgroup };
    match decide::connect(settings, &attempt) {
        Connect::Keep => Outcome::Leave,
        Connect::Leave => forget(socket),
        Connect::Agent(role) => remember_agent(ctx, socket, role),
        Connect::Capture => capture(ctx, socket, settings, &attempt),
    }
}

/// A process of the node, or of a pod that is not captured: none of the agent's business, but the kubelet's probes must
/// reach captured pods whatever their policy.
#[inline(always)]
fn outside(ctx: &SockAddrContext, socket: *mut bpf_sock, settings: &Settings, cgroup: u64) -> Outcome {
    if !decide::is_kubelet(settings, cgroup) {
        return Outcome::Leave;
    }
    let memory = SocketMemory { role: SocketRole::Kubelet as u16, ..SocketMemory::default() };
    if !remember(socket, &memory) {
        warn!(ctx, "a probe of the kubelet meets its pod's policy: no memory to know it by");
    }
    Outcome::Leave
}

/// A socket may try again elsewhere after a failure: an older destination must not be told as its peer.
#[inline(always)]
fn forget(socket: *mut bpf_sock) -> Outcome {
    if let Some(memory) = recall(socket) {
        memory.role = SocketRole::None as u16;
    }
    Outcome::Leave
}

#[inline(always)]
fn remember_agent(ctx: &SockAddrContext, socket: *mut bpf_sock, role: SocketRole) -> Outcome {
    let memory = SocketMemory { role: role as u16, ..SocketMemory::default() };
    if remember(socket, &memory) {
        return Outcome::Leave;
    }
    warn!(ctx, "refused a connection of the agent: no memory to know it by");
    Outcome::Refuse
}

#[inline(always)]
fn capture(ctx: &SockAddrContext, socket: *mut bpf_sock, settings: &Settings, attempt: &Attempt) -> Outcome {
    let listener = attempt.destination.loopback_of_family();
    let port = settings.outbound_port as u16;
    if decide::passes_without_agent(settings) && !is_listening(ctx.sock_addr, &listener, port) {
        return forget(socket);
    }
    if field!(socket, bound_dev_if) != 0 && !unbind_device(ctx.sock_addr) {
        warn!(ctx, "refused a connection to port {}: its socket is bound to a device", attempt.port);
        return Outcome::Refuse;
    }
    let memory = SocketMemory {
        original: attempt.destination,
        original_port: attempt.port,
        role: SocketRole::Captured as u16,
        ..SocketMemory::default()
    };
    if !remember(socket, &memory) {
        warn!(ctx, "refused a connection to port {}: no memory for its destination", attempt.port);
        return Outcome::Refuse;
    }
    Outcome::Rewrite { listener, port }
}

/// A socket bound to the pod's interface cannot reach the pod's loopback. The kernel lets only a process with
/// CAP_NET_RAW change the binding, and asks the connecting process here too.
#[inline(always)]
fn unbind_device(ctx: *mut bpf_sock_addr) -> bool {
    const SOL_SOCKET: i32 = 1;
    const SO_BINDTODEVICE: i32 = 25;
    let mut no_device = [0_u8; 4];
    // SAFETY: the value lies on this stack and is as long as said.
    unsafe { bpf_setsockopt(ctx.cast(), SOL_SOCKET, SO_BINDTODEVICE, (&raw mut no_device).cast(), 4) == 0 }
}

/// Whether someone listens at the agent's address in the process's namespace.
#[inline(always)]
fn is_listening(ctx: *mut bpf_sock_addr, listener: &Address, port: u16) -> bool {
    /// Sizes of the two forms of `bpf_sock_tuple`, by which the kernel tells them apart.
    const V4_SIZE: u32 = 12;
    const V6_SIZE: u32 = 36;
    // SAFETY: every field is an integer.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = if listener.is_v4() {
        tuple.__bindgen_anon_1.ipv4.daddr = listener.words[3];
        tuple.__bindgen_anon_1.ipv4.dport = port.to_be();
        V4_SIZE
    } else {
        tuple.__bindgen_anon_1.ipv6.daddr = listener.words;
        tuple.__bindgen_anon_1.ipv6.dport = port.to_be();
        V6_SIZE
    };
    // SAFETY: the tuple outlives the call; a socket that was found is released at once, as the verifier demands.
    unsafe {
        let found = bpf_sk_lookup_tcp(ctx.cast(), &raw mut tuple, size, BPF_F_CURRENT_NETNS as i64 as u64, 0);
        if found.is_null() {
            return false;
        }
        bpf_sk_release(found.cast());
    }
    true
}
