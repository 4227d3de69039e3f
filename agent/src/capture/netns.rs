//! A pod's network namespace: opening sockets inside it without leaving the agent.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use underpass_ebpf_shared::netns_cookie;

/// The agent's own namespace, to return to.
static HOME: OnceLock<File> = OnceLock::new();

/// A network namespace, held open.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    cookie: u64,
}

impl Netns {
    /// Opens the namespace at `path`, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// The path is no network namespace, or entering it is not allowed (CAP_SYS_ADMIN).
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut netns = Self { file: Arc::new(File::open(path)?), cookie: 0 };
        netns.cookie = netns.within(|| {
            let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
            netns_cookie(probe.as_fd())
        })?;
        Ok(netns)
    }

    /// The kernel's number for it, never used again while it is up (SO_NETNS_COOKIE, Linux 5.14).
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Runs `f` on this thread inside the namespace. `f` must not await: the thread is another's afterwards.
    ///
    /// # Errors
    /// What `f` returns, or the namespace could not be entered.
    ///
    /// The process aborts when the thread cannot return: it would serve one pod's connections inside another's.
    pub fn within<T>(&self, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let home = home()?;
        setns(&*self.file, CloneFlags::CLONE_NEWNET)?;
        let result = f();
        if setns(home, CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
        result
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn home() -> io::Result<&'static File> {
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    // The thread has not been elsewhere yet: `within` comes through here first.
    let file = File::open("/proc/thread-self/ns/net")?;
    Ok(HOME.get_or_init(|| file))
}
