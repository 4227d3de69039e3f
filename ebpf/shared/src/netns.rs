//! The one number that user space cannot ask for without a raw system call.

extern crate std;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The cookie of the network namespace that a socket was made in: what `bpf_get_netns_cookie` returns for it.
///
/// # Errors
/// The kernel is older than 5.14, which brought SO_NETNS_COOKIE.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to locals, and the length is that of the value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
