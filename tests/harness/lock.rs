//! One command at a time changes a lab.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Held while a lab is changed. An abstract socket: no file, and the kernel frees it whatever ends the process.
pub struct Lock(#[expect(dead_code, reason = "holding it open is its use")] UnixListener);

impl Lock {
    /// Waits for other commands on that lab, at most three minutes.
    ///
    /// # Errors
    /// Another command holds it for longer.
    pub fn take(lab: &str) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(format!("underpass-lab-{lab}"))?;
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(Self(listener)),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => bail!("another command is at work on lab {lab}: {error}"),
            }
        }
    }
}
