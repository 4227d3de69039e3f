//! Reads of context fields: the verifier takes only loads of a field's own width, so the compiler must not merge them.

use aya_ebpf::bindings::{bpf_sk_lookup, bpf_sock_addr, bpf_sock_ops};
use underpass_ebpf_shared::{Address, Tuple};

/// Linux's AF_INET.
const AF_INET: u32 = 2;

/// Reads one field at its own width.
macro_rules! field {
    ($context:expr, $($path:tt)+) => {{
        let context = $context;
        // SAFETY: the kernel hands out a valid context; each field is read at the width it has there.
        unsafe { core::ptr::read_volatile(&raw const (*context).$($path)+) }
    }};
}
pub(crate) use field;

/// Reads the four words of an IPv6 address.
macro_rules! words {
    ($context:expr, $name:ident) => {
        [field!($context, $name[0]), field!($context, $name[1]), field!($context, $name[2]), field!($context, $name[3])]
    };
}

/// The IPv4 address that a socket address hook is about.
#[inline(always)]
pub fn user_v4(ctx: *mut bpf_sock_addr) -> Address {
    Address::v4(field!(ctx, user_ip4))
}

/// The IPv6 address, possibly a mapped one, that a socket address hook is about.
#[inline(always)]
pub fn user_v6(ctx: *mut bpf_sock_addr) -> Address {
    Address::v6(words!(ctx, user_ip6))
}

/// The port that a socket address hook is about, host order.
#[inline(always)]
pub fn user_port(ctx: *mut bpf_sock_addr) -> u16 {
    u16::from_be(field!(ctx, user_port) as u16)
}

/// Replaces the IPv4 address that a socket address hook is about.
#[inline(always)]
pub fn write_v4(ctx: *mut bpf_sock_addr, address: &Address) {
    // SAFETY: `user_ip4` is writable at four bytes in the connect and getpeername hooks.
    unsafe { core::ptr::write_volatile(&raw mut (*ctx).user_ip4, address.words[3]) }
}

/// Replaces the IPv6 address that a socket address hook is about.
#[inline(always)]
pub fn write_v6(ctx: *mut bpf_sock_addr, address: &Address) {
    // SAFETY: `user_ip6` is writable at four bytes in the connect and getpeername hooks.
    unsafe {
        core::ptr::write_volatile(&raw mut (*ctx).user_ip6[0], address.words[0]);
        core::ptr::write_volatile(&raw mut (*ctx).user_ip6[1], address.words[1]);
        core::ptr::write_volatile(&raw mut (*ctx).user_ip6[2], address.words[2]);
        core::ptr::write_volatile(&raw mut (*ctx).user_ip6[3], address.words[3]);
    }
}

/// Replaces the port that a socket address hook is about.
#[inline(always)]
pub fn write_port(ctx: *mut bpf_sock_addr, port: u16) {
    // SAFETY: `user_port` is writable at four bytes in the connect and getpeername hooks.
    unsafe { core::ptr::write_volatile(&raw mut (*ctx).user_port, u32::from(port.to_be())) }
}

/// A socket's own end as source and the far end as destination. What is IPv4 on the wire is IPv4 here, whatever
/// the family of the socket.
///
/// Both families are read before the choice: loads in two branches are merged by LLVM into one with a computed
/// offset, which the verifier refuses for a context.
#[inline(always)]
pub fn socket_ends(ctx: *mut bpf_sock_ops) -> Tuple {
    let source_port = field!(ctx, local_port) as u16;
    // The kernel shifts the 16-bit port to the high half on little endian (sock_ops_convert_ctx_access).
    let destination_port = u32::from_be(field!(ctx, remote_port)) as u16;
    let v4 = (Address::v4(field!(ctx, local_ip4)), Address::v4(field!(ctx, remote_ip4)));
    let v6 = (Address::v6(words!(ctx, local_ip6)), Address::v6(words!(ctx, remote_ip6)));
    // Before 6.1 the mapped form of the own address was not filled in yet when the SYN goes out.
    let is_v4 = field!(ctx, family) == AF_INET || v6.1.is_v4();
    let (source, destination) = if is_v4 { v4 } else { v6 };
    Tuple { source, destination, source_port, destination_port }
}

/// A new inbound connection: its client as source, the pod's address as destination.
#[inline(always)]
pub fn lookup_ends(ctx: *mut bpf_sk_lookup) -> Tuple {
    let v4 = (Address::v4(field!(ctx, remote_ip4)), Address::v4(field!(ctx, local_ip4)));
    let v6 = (Address::v6(words!(ctx, remote_ip6)), Address::v6(words!(ctx, local_ip6)));
    let source_port = u16::from_be(field!(ctx, remote_port));
    let destination_port = field!(ctx, local_port) as u16;
    let (source, destination) = if field!(ctx, family) == AF_INET { v4 } else { v6 };
    Tuple { source, destination, source_port, destination_port }
}
