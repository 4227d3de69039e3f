//! `sock_ops`: publishes a connection before its SYN leaves, when its source port is known, and cleans up behind it.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_ESTABLISHED, bpf_sock,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use aya_log_ebpf::warn;
use underpass_ebpf_shared::decide::is_listener;
use underpass_ebpf_shared::{Flow, FlowKey, SocketMemory, SocketRole, Trusted, Tuple};

use crate::context::{field, socket_ends};
use crate::maps::{self, FLOWS, TRUSTED};
use crate::sockets::{recall, remember};

/// The value that lets the other programs on this hook answer as they like.
const GO_ON: u32 = 1;

/// Dispatches the three events that matter. Named unlike its section: the two symbols would collide.
#[sock_ops]
pub fn tcp_event(ctx: SockOpsContext) -> u32 {
    match field!(ctx.ops, op) {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(&ctx),
        BPF_SOCK_OPS_STATE_CB => changed(&ctx),
        _ => {}
    }
    GO_ON
}

#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    let Some(memory) = recall(socket(ctx)) else {
        return;
    };
    let ends = socket_ends(ctx.ops);
    if memory.is(SocketRole::Captured) {
        publish_flow(ctx, memory, &ends);
    } else if is_trusted(memory) {
        publish_trust(ctx, &ends);
    }
}

/// Whose connection the lookup hook lets through to the application.
#[inline(always)]
fn is_trusted(memory: &SocketMemory) -> bool {
    memory.is(SocketRole::AgentToApplication) || memory.is(SocketRole::Kubelet)
}

#[inline(always)]
fn publish_flow(ctx: &SockOpsContext, memory: &SocketMemory, ends: &Tuple) {
    let flow = Flow {
        original: memory.original,
        original_port: memory.original_port,
        socket: cookie(ctx),
        accepted: 0,
        zero: 0,
    };
    // The agent refuses a connection without an entry, so a failure here closes, never opens.
    if FLOWS.insert(flow_key(ctx, ends), flow, 0).is_err() {
        warn!(ctx, "a captured connection from port {} could not be recorded", ends.source_port);
    }
    watch(ctx);
}

#[inline(always)]
fn publish_trust(ctx: &SockOpsContext, ends: &Tuple) {
    let trusted = Trusted { netns: netns(ctx) };
    // Without the entry the connection comes to the agent's listener: its own it refuses, a probe meets the policy.
    if TRUSTED.insert(ends, trusted, 0).is_err() {
        warn!(ctx, "the trusted connection to port {} could not be recorded", ends.destination_port);
    }
    watch(ctx);
}

/// The agent's end of a captured connection exists. From here on it owns the entry: a client that writes and
/// closes at once is gone before the agent has asked where it wanted to go.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    let Some(settings) = maps::settings() else {
        return;
    };
    if field!(ctx.ops, local_port) != settings.outbound_port {
        return;
    }
    let ends = socket_ends(ctx.ops);
    if !is_listener(settings, &ends.source, ends.source_port) {
        return;
    }
    let Some(flow) = FLOWS.get_ptr_mut(flow_key_of_peer(ctx, &ends)) else {
        return;
    };
    // SAFETY: the map's slot; a reader on another processor sees either value.
    let client = unsafe { (*flow).socket };
    let memory = SocketMemory { client, role: SocketRole::Accepted as u16, ..SocketMemory::default() };
    if remember(socket(ctx), &memory) {
        // SAFETY: as above.
        unsafe { (*flow).accepted = 1 };
        watch(ctx);
    }
}

#[inline(always)]
fn changed(ctx: &SockOpsContext) {
    let Some(memory) = recall(socket(ctx)) else {
        return;
    };
    let (old, new) = (state(ctx, 0), state(ctx, 1));
    let ends = socket_ends(ctx.ops);
    if is_trusted(memory) && (old == BPF_TCP_ESTABLISHED || new == BPF_TCP_CLOSE) {
        // Only the handshake needs the entry, and the kernel may need it again until data flows; a later SYN
        // that guesses the port must not find it once either side has begun to close.
        _ = TRUSTED.remove(ends);
        return;
    }
    if new != BPF_TCP_CLOSE {
        return;
    }
    if memory.is(SocketRole::Captured) {
        remove_flow(&flow_key(ctx, &ends), cookie(ctx), false);
    } else if memory.is(SocketRole::Accepted) {
        remove_flow(&flow_key_of_peer(ctx, &ends), memory.client, true);
    }
}

/// Removes an entry, if it is still that of this client and it is this side's turn.
#[inline(always)]
fn remove_flow(key: &FlowKey, client: u64, by_agent: bool) {
    let Some(flow) = FLOWS.get_ptr(key) else {
        return;
    };
    // SAFETY: the map's slot, read once.
    let (socket, accepted) = unsafe { ((*flow).socket, (*flow).accepted) };
    if socket == client && (by_agent || accepted == 0) {
        _ = FLOWS.remove(key);
    }
}

/// Asks the kernel to report the socket's changes of state too; other programs' wishes stay.
#[inline(always)]
fn watch(ctx: &SockOpsContext) {
    let flags = field!(ctx.ops, bpf_sock_ops_cb_flags) | BPF_SOCK_OPS_STATE_CB_FLAG;
    if ctx.set_cb_flags(flags as i32).is_err() {
        warn!(ctx, "a connection's end will not be seen; its entry goes when the map is full");
    }
}

#[inline(always)]
fn flow_key(ctx: &SockOpsContext, ends: &Tuple) -> FlowKey {
    FlowKey::new(netns(ctx), ends.source, ends.source_port)
}

#[inline(always)]
fn flow_key_of_peer(ctx: &SockOpsContext, ends: &Tuple) -> FlowKey {
    FlowKey::new(netns(ctx), ends.destination, ends.destination_port)
}

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> *mut bpf_sock {
    field!(ctx.ops, __bindgen_anon_2.sk)
}

#[inline(always)]
fn state(ctx: &SockOpsContext, argument: usize) -> u32 {
    field!(ctx.ops, __bindgen_anon_1.args[argument])
}

#[inline(always)]
fn netns(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the helper takes the hook's own context.
    unsafe { bpf_get_netns_cookie(ctx.ops.cast()) }
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the helper takes the hook's own context.
    unsafe { bpf_get_socket_cookie(ctx.ops.cast()) }
}
