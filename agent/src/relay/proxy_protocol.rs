//! The PROXY protocol's header: tells a server behind a proxy whose connection it is.
//!
//! As in HAProxy's specification (proxy-protocol.txt, versions 1 and 2), for TCP.

use crate::model::traffic_policy::ProxyProtocol;
use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The header of a connection from `client` to `used`, the address that it used.
pub fn header(version: ProxyProtocol, client: SocketAddr, used: SocketAddr) -> Vec<u8> {
    let (client_ip, used_ip) = same_family(client.ip().to_canonical(), used.ip().to_canonical());
    match version {
        ProxyProtocol::V1 => {
            let family = if client_ip.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {client_ip} {used_ip} {} {}\r\n", client.port(), used.port()).into_bytes()
        }
        ProxyProtocol::V2 => second((client_ip, client.port()), (used_ip, used.port())),
    }
}

fn second((client, from): (IpAddr, u16), (used, to): (IpAddr, u16)) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    for ip in [client, used] {
        match ip {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    addresses.extend(from.to_be_bytes());
    addresses.extend(to.to_be_bytes());
    let family = if client.is_ipv4() { TCP4 } else { TCP6 };
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family, 0, addresses.len() as u8]);
    header.extend(addresses);
    header
}

/// Both addresses are written in one family; where they differ, the IPv4 one as the IPv6 address that it maps to.
fn same_family(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    if one.is_ipv4() == other.is_ipv4() { (one, other) } else { (mapped(one), mapped(other)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_version_is_a_line() {
        for (client, used, line) in [
            ("10.0.0.1:4000", "10.96.0.1:80", "PROXY TCP4 10.0.0.1 10.96.0.1 4000 80\r\n"),
            ("[fd00::1]:4000", "[fd00::2]:80", "PROXY TCP6 fd00::1 fd00::2 4000 80\r\n"),
            ("[::ffff:10.0.0.1]:4000", "10.96.0.1:80", "PROXY TCP4 10.0.0.1 10.96.0.1 4000 80\r\n"),
            ("10.0.0.1:4000", "[fd00::2]:80", "PROXY TCP6 ::ffff:10.0.0.1 fd00::2 4000 80\r\n"),
        ] {
            assert_eq!(header(ProxyProtocol::V1, socket(client), socket(used)), line.as_bytes());
        }
    }

    #[test]
    fn the_second_version_is_binary() {
        let four = header(ProxyProtocol::V2, socket("10.0.0.1:4000"), socket("10.96.0.1:80"));
        let expected = [&SIGNATURE[..], &[0x21, 0x11, 0, 12], &[10, 0, 0, 1, 10, 96, 0, 1], &[0x0f, 0xa0, 0, 80]];
        assert_eq!(four, expected.concat());
        let six = header(ProxyProtocol::V2, socket("[fd00::1]:4000"), socket("[fd00::2]:80"));
        assert_eq!((six.len(), six[13], six[15]), (16 + 36, 0x21, 36));
    }
}
