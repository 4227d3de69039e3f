//! The eBPF programs: one hook per file, each run once per connection, none per packet.
#![no_std]
#![no_main]

mod connect;
mod connect4;
mod connect6;
mod context;
mod getpeername4;
mod getpeername6;
mod maps;
mod sk_lookup;
mod sock_ops;
mod sockets;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The programs hold no panicking operation; the compiler still asks for a handler.
    loop {}
}

/// Some helpers are reserved for programs under the GPL; these files may be used under either licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
