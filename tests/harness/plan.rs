//! The addresses of a lab: which range belongs to what.
//!
//! A lab has a block `b` (66 for the lab of the command line; every other takes a free one):
//! underlay `10.b.0.0/24`, pods of node n `10.b.n.0/24`, services of cluster c `10.(b+1).(16c).0/20`;
//! the same in IPv6 below `fd66:b`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// All addresses of one lab.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Second byte of the IPv4 addresses, even.
    pub block: u8,
}

/// The first block; a lab takes two numbers (pods, services).
pub const FIRST_BLOCK: u8 = 66;

/// The last block that is handed out.
pub const LAST_BLOCK: u8 = 126;

impl Plan {
    /// Node n (from 1) on the underlay.
    pub fn node_v4(self, n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.block, 0, n)
    }

    /// Node n (from 1) on the underlay.
    pub fn node_v6(self, n: u8) -> Ipv6Addr {
        self.v6(self.block, 0, u16::from(n))
    }

    /// The root namespace's end of the fabric.
    pub fn root_v4(self) -> Ipv4Addr {
        self.node_v4(254)
    }

    /// The root namespace's end of the fabric.
    pub fn root_v6(self) -> Ipv6Addr {
        self.node_v6(254)
    }

    /// Address `host` (1 = the node's bridge) of node n's pods, a /24.
    pub fn pod_v4(self, n: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.block, n, host)
    }

    /// Address `host` (1 = the node's bridge) of node n's pods, a /64.
    pub fn pod_v6(self, n: u8, host: u8) -> Ipv6Addr {
        self.v6(self.block, u16::from(n), u16::from(host))
    }

    /// Service number i (from 0) of cluster c (from 0); `None` when the /20 is used up.
    pub fn service_v4(self, c: u8, i: u16) -> Option<Ipv4Addr> {
        let offset = i.checked_add(10).filter(|offset| *offset < 4095)?;
        let [high, low] = offset.to_be_bytes();
        Some(Ipv4Addr::new(10, self.block + 1, c * 16 + high, low))
    }

    /// The same in IPv6.
    pub fn service_v6(self, c: u8, i: u16) -> Option<Ipv6Addr> {
        let offset = i.checked_add(10).filter(|offset| *offset < 4095)?;
        Some(self.v6(self.block + 1, u16::from(c), offset))
    }

    // Written in decimal digits, so that fd66:66:1::2 and 10.66.1.2 read alike.
    fn v6(self, block: u8, net: u16, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd66, as_digits(u16::from(block)), as_digits(net), 0, 0, 0, 0, host)
    }
}

fn as_digits(number: u16) -> u16 {
    number % 10 + (number / 10 % 10) * 16 + (number / 100) * 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_families_read_alike() {
        let plan = Plan { block: 66 };
        assert_eq!(plan.pod_v4(2, 7).to_string(), "10.66.2.7");
        assert_eq!(plan.pod_v6(2, 7).to_string(), "fd66:66:2::7");
        assert_eq!(plan.service_v4(1, 0).unwrap().to_string(), "10.67.16.10");
        assert_eq!(plan.service_v4(1, 300).unwrap().to_string(), "10.67.17.54");
        assert!(plan.service_v4(0, 4090).is_none());
    }
}
