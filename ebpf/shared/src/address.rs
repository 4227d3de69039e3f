//! IP addresses as every map holds them: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`.

use core::net::{IpAddr, Ipv6Addr};

/// An IP address in its IPv6 form; IPv4 is mapped, so one key layout serves both families.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Address {
    /// The four 32-bit words of the address, each with its bytes in network order in memory.
    pub words: [u32; 4],
}

/// The third word of an IPv4-mapped address (RFC 4291 section 2.5.5.2).
const MAPPED: u32 = 0x0000_ffff_u32.to_be();
/// The last word of `::1`.
const ONE: u32 = 1_u32.to_be();

impl Address {
    /// The address of an IPv4 word as the kernel keeps it (network order in memory).
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// The address of four IPv6 words as the kernel keeps them.
    #[inline(always)]
    pub const fn v6(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// Whether this stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// 127.0.0.0/8 or `::1`: never leaves the pod.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            return u32::from_be(self.words[3]) >> 24 == 127;
        }
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == ONE
    }

    /// 0.0.0.0 or `::`, which `connect` takes for the loopback address.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && self.words[3] == 0
            && (self.words[2] == 0 || self.words[2] == MAPPED)
    }

    /// The loopback address of the same family, where the agent listens.
    #[inline(always)]
    pub const fn loopback_of_family(&self) -> Self {
        if self.is_v4() {
            return Self::v4(0x7f00_0001_u32.to_be());
        }
        Self { words: [0, 0, 0, ONE] }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        let octets = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self { words }
    }
}

impl From<Address> for IpAddr {
    /// The address as people know it: a mapped one comes back as IPv4.
    fn from(address: Address) -> Self {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(address.words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn addresses_survive_the_trip_through_a_map() {
        for text in ["10.1.2.3", "fd00::5", "::1", "0.0.0.0"] {
            assert_eq!(IpAddr::from(address(text)).to_string(), text);
        }
        assert_eq!(address("::ffff:10.1.2.3"), address("10.1.2.3"));
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        for text in ["128.0.0.1", "10.0.0.127", "::", "fd00::1", "::7f00:1"] {
            assert!(!address(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn unspecified_is_known_in_every_spelling() {
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert!(address(text).is_unspecified(), "{text}");
        }
        assert!(!address("::1").is_unspecified());
    }

    #[test]
    fn the_listener_is_of_the_destination_s_family() {
        assert_eq!(address("10.0.0.1").loopback_of_family(), address("127.0.0.1"));
        assert_eq!(address("fd00::1").loopback_of_family(), address("::1"));
    }
}
