//! The kernel tier: every program is loaded and does its part in a real network namespace. As root:
//! `cargo xtask build-ebpf && cargo test -p underpass-tests --test kernel -- --test-threads=1`
#![allow(clippy::unwrap_used, reason = "a test's own hands: a panic here is the failure")]

mod capture;
mod inbound;
mod lifecycle;
mod outbound;
mod pod;
