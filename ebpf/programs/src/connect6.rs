//! `connect` over IPv6, which also carries IPv4 as mapped addresses (Java and many others).

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect::{ALLOW, Outcome, REFUSE, handle};
use crate::context::{user_v6, write_port, write_v6};

/// Sends an enrolled pod's connection to the agent.
#[cgroup_sock_addr(connect6)]
pub fn outbound6(ctx: SockAddrContext) -> i32 {
    match handle(&ctx, user_v6(ctx.sock_addr)) {
        Outcome::Leave => ALLOW,
        Outcome::Refuse => REFUSE,
        Outcome::Rewrite { listener, port } => {
            write_v6(ctx.sock_addr, &listener);
            write_port(ctx.sock_addr, port);
            ALLOW
        }
    }
}
