//! `getpeername` over IPv4: an application that asks is told where it wanted to go.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect::ALLOW;
use crate::context::{user_v4, write_port, write_v4};
use crate::sockets::original_peer;

/// Replaces the agent's listener by the original destination.
#[cgroup_sock_addr(getpeername4)]
pub fn peer4(ctx: SockAddrContext) -> i32 {
    if let Some((address, port)) = original_peer(ctx.sock_addr, &user_v4(ctx.sock_addr)) {
        write_v4(ctx.sock_addr, &address);
        write_port(ctx.sock_addr, port);
    }
    ALLOW
}
