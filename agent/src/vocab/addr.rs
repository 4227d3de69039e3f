//! A `SocketAddr` never travels bare: which end it names is part of its type.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SocketAddr);

        impl $name {
            /// Wraps an address, turning an IPv4-mapped IPv6 address into the IPv4 address it stands for.
            pub fn new(addr: SocketAddr) -> Self {
                Self(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
            }

            /// The address without its role.
            pub fn socket(self) -> SocketAddr {
                self.0
            }

            /// The IP address.
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// The port.
            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address!(
    /// Where the application wanted to go, before capture.
    OrigDst
);
address!(
    /// The other end of a connection that was accepted.
    PeerAddr
);
address!(
    /// This end of a connection.
    LocalAddr
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:80".parse().unwrap();
        assert_eq!(OrigDst::new(mapped).to_string(), "10.1.2.3:80");
    }
}
