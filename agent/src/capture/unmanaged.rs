//! Connections that a pod had before it was enrolled: left alone, and listed until they close.

use super::Netns;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Local and remote end.
pub type Flow = (SocketAddr, SocketAddr);

/// The namespace's established TCP connections that leave it.
pub fn established(netns: &Netns) -> BTreeSet<Flow> {
    let read = netns.within(|| {
        let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
        Ok(v4 + &fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default())
    });
    read.unwrap_or_default().lines().filter_map(flow).filter(|(_, remote)| !remote.ip().is_loopback()).collect()
}

/// A line of /proc/net/tcp: `sl local remote st ...`, addresses in hexadecimal words of host order; state 01 is
/// ESTABLISHED (Documentation/networking/proc_net_tcp.rst).
fn flow(line: &str) -> Option<Flow> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    (state == "01").then_some(())?;
    Some((address(local)?, address(remote)?))
}

fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.as_flattened().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_established_line_is_read_and_others_are_not() {
        let line = "  1: 0200420A:D431 0300420A:2378 01 00000000:00000000 00:00000000 00000000 0 0 1 1 0 20 4 30 10 -1";
        let (local, remote) = flow(line).unwrap();
        assert_eq!((local.to_string().as_str(), remote.to_string().as_str()), ("10.66.0.2:54321", "10.66.0.3:9080"));
        assert!(flow(&line.replace(" 01 ", " 0A ")).is_none(), "a listener");
        assert!(flow("  sl  local_address rem_address   st").is_none());
    }
}
