//! The memory that the kernel keeps with a socket and frees with it.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use underpass_ebpf_shared::decide::is_listener;
use underpass_ebpf_shared::{Address, SocketMemory, SocketRole};

use crate::context::{field, user_port};
use crate::maps::{self, SOCKETS};

/// What is remembered of a socket; aya's own accessor knows only the socket address context.
#[inline(always)]
pub fn recall(socket: *mut bpf_sock) -> Option<&'static mut SocketMemory> {
    storage(socket, 0)
}

/// Remembers something of a socket; false without memory for it.
#[inline(always)]
pub fn remember(socket: *mut bpf_sock, memory: &SocketMemory) -> bool {
    match storage(socket, u64::from(BPF_SK_STORAGE_GET_F_CREATE)) {
        Some(slot) => {
            *slot = *memory;
            true
        }
        None => false,
    }
}

#[inline(always)]
fn storage(socket: *mut bpf_sock, flags: u64) -> Option<&'static mut SocketMemory> {
    if socket.is_null() {
        return None;
    }
    let map = (&raw const SOCKETS).cast_mut().cast::<c_void>();
    // SAFETY: the helper returns null or the socket's slot, which lives as long as the socket does, and the
    // kernel runs these hooks with the socket held.
    unsafe {
        bpf_sk_storage_get(map.cast(), socket.cast(), core::ptr::null_mut(), flags).cast::<SocketMemory>().as_mut()
    }
}

/// The original destination of a captured socket whose peer is the agent's listener.
#[inline(always)]
pub fn original_peer(ctx: *mut bpf_sock_addr, peer: &Address) -> Option<(Address, u16)> {
    let settings = maps::settings()?;
    if !is_listener(settings, peer, user_port(ctx)) {
        return None;
    }
    let memory = recall(field!(ctx, __bindgen_anon_1.sk))?;
    memory.is(SocketRole::Captured).then_some((memory.original, memory.original_port))
}
