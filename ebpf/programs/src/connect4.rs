//! `connect` over IPv4.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect::{ALLOW, Outcome, REFUSE, handle};
use crate::context::{user_v4, write_port, write_v4};

/// Sends an enrolled pod's connection to the agent.
#[cgroup_sock_addr(connect4)]
pub fn outbound4(ctx: SockAddrContext) -> i32 {
    match handle(&ctx, user_v4(ctx.sock_addr)) {
        Outcome::Leave => ALLOW,
        Outcome::Refuse => REFUSE,
        Outcome::Rewrite { listener, port } => {
            write_v4(ctx.sock_addr, &listener);
            write_port(ctx.sock_addr, port);
            ALLOW
        }
    }
}
