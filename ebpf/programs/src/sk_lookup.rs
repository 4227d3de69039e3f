//! `sk_lookup`, attached to each enrolled pod's namespace: who accepts a new inbound connection.

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use underpass_ebpf_shared::decide::{self, Inbound};

use crate::context::{field, lookup_ends};
use crate::maps;

/// Gives every inbound TCP connection to the agent, except those that the agent made itself and the kubelet's.
#[sk_lookup]
pub fn inbound(ctx: SkLookupContext) -> u32 {
    let ends = lookup_ends(ctx.lookup);
    let trusted = maps::TRUSTED.get_ptr(ends).is_some();
    if decide::inbound(field!(ctx.lookup, protocol), &ends.destination, trusted) == Inbound::Pass {
        return SK_PASS;
    }
    if maps::INBOUND.redirect_sk_lookup(&ctx, ends.destination, 0).is_ok() {
        return SK_PASS;
    }
    match maps::settings() {
        Some(settings) if decide::passes_without_agent(settings) => SK_PASS,
        _ => SK_DROP,
    }
}
