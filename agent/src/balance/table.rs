//! Consistent hashing: the same key finds the same endpoint on every node, and few keys move when endpoints change.

use super::Endpoint;
use crate::model::traffic_policy::HashTable;
use std::net::SocketAddr;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// Envoy's bounds of both kinds of tables.
const LARGEST_RING: usize = 8 * 1024 * 1024;
const LARGEST_MAGLEV: u64 = 5_000_011;

/// Which endpoint is at which place.
#[derive(Debug)]
pub enum Table {
    /// Points on a circle, in order: a key belongs to the next one.
    Ring(Box<[(u64, u32)]>),
    /// Places that the endpoints took in turn: a key belongs to the place of its remainder.
    Maglev(Box<[u32]>),
}

/// A key's hash, the same in every process.
pub fn hash(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

impl Table {
    /// The table of some endpoints.
    pub fn new(kind: HashTable, endpoints: &[Arc<Endpoint>]) -> Self {
        let addresses = endpoints.iter().map(|endpoint| endpoint.address);
        match kind {
            HashTable::Ring { minimum } => Self::ring(usize::try_from(minimum).unwrap_or(LARGEST_RING), addresses),
            HashTable::Maglev { size } => Self::maglev(size, addresses),
        }
    }

    /// As many points for each endpoint as the minimum needs.
    fn ring(minimum: usize, addresses: impl ExactSizeIterator<Item = SocketAddr>) -> Self {
        let count = addresses.len().max(1);
        let each = minimum.min(LARGEST_RING).div_ceil(count).max(1) as u64;
        let points = addresses.enumerate().flat_map(|(at, address)| {
            let seed = seed(address);
            (0..each).map(move |nth| (xxh64(&nth.to_le_bytes(), seed), at as u32))
        });
        let mut points: Vec<_> = points.collect();
        points.sort_unstable();
        Self::Ring(points.into())
    }

    /// Every endpoint has its own order of all places; in turn each takes its first that is still free.
    fn maglev(size: u64, addresses: impl ExactSizeIterator<Item = SocketAddr>) -> Self {
        let size = prime_from(size.clamp(3, LARGEST_MAGLEV));
        let mut orders: Vec<(u64, u64)> = addresses
            .map(|address| (xxh64(b"first", seed(address)) % size, xxh64(b"step", seed(address)) % (size - 1) + 1))
            .collect();
        let mut places = vec![u32::MAX; if orders.is_empty() { 0 } else { size as usize }];
        let mut free = places.len();
        while free > 0 {
            for (at, (next, step)) in orders.iter_mut().enumerate().take(free) {
                while places[*next as usize] != u32::MAX {
                    *next = (*next + *step) % size;
                }
                places[*next as usize] = at as u32;
                free -= 1;
            }
        }
        Self::Maglev(places.into())
    }

    /// The first endpoint from a key's place on that is usable. The order is the same for everyone who asks.
    pub fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Self::Ring(points) => {
                let start = points.partition_point(|(point, _)| *point < hash);
                let from = points[start..].iter().chain(&points[..start]);
                from.map(|(_, at)| *at as usize).find(|at| usable(*at))
            }
            Self::Maglev(places) => {
                let start = (hash % (places.len() as u64).max(1)) as usize;
                let from = places[start..].iter().chain(&places[..start]);
                from.map(|at| *at as usize).find(|at| usable(*at))
            }
        }
    }
}

/// An endpoint's own hash. It does not hang on its place among the others.
fn seed(address: SocketAddr) -> u64 {
    let mut bytes = [0; 18];
    match address.ip() {
        std::net::IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        std::net::IpAddr::V6(ip) => bytes[..16].copy_from_slice(&ip.octets()),
    }
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    hash(&bytes)
}

/// Only with a prime number of places is every order complete.
fn prime_from(number: u64) -> u64 {
    let is_prime = |number: &u64| (2..).take_while(|d| d * d <= *number).all(|d| !number.is_multiple_of(d));
    (number..).find(is_prime).unwrap_or(LARGEST_MAGLEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: HashTable = HashTable::Ring { minimum: 1024 };
    const MAGLEV: HashTable = HashTable::Maglev { size: 65_537 };

    fn endpoints(numbers: impl Iterator<Item = u16>) -> Vec<Arc<Endpoint>> {
        let endpoint = |n: u16| {
            let [high, low] = n.to_be_bytes();
            Arc::new(Endpoint::new(SocketAddr::from(([10, 0, high, low], 80)), None, Arc::default()))
        };
        numbers.map(endpoint).collect()
    }

    /// Where each of 20,000 keys is.
    fn owners(kind: HashTable, endpoints: &[Arc<Endpoint>]) -> Vec<SocketAddr> {
        let table = Table::new(kind, endpoints);
        let keys = (0..20_000u64).map(|key| hash(&key.to_le_bytes()));
        keys.map(|key| endpoints[table.find(key, |_| true).unwrap()].address).collect()
    }

    #[test]
    fn few_keys_move_when_endpoints_come_and_go() {
        for (kind, most) in [(HashTable::Ring { minimum: 1024 }, 0), (MAGLEV, 400)] {
            let (all, one_less) = (endpoints(1..=20), endpoints((1..=20).filter(|n| *n != 7)));
            let gone = all[6].address;
            let (before, after) = (owners(kind, &all), owners(kind, &one_less));
            let of_gone = before.iter().filter(|owner| **owner == gone).count();
            assert!((500..2000).contains(&of_gone), "{kind:?}: {of_gone} of 20000 keys were at the one that went");
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            // A ring's endpoints have a point more each when one goes, which takes some keys from others.
            let rounding = if kind == MAGLEV { most } else { 20_000 / 20 };
            assert!(moved - of_gone <= rounding, "{kind:?}: {} keys moved between those that stayed", moved - of_gone);
        }
    }

    #[test]
    fn keys_are_spread_evenly() {
        for (kind, count, within) in [(RING, 3, 20), (RING, 10, 40), (MAGLEV, 3, 3), (MAGLEV, 10, 5)] {
            let all = endpoints(0..count);
            let owners = owners(kind, &all);
            let fair = 20_000 / usize::from(count);
            for endpoint in &all {
                let share = owners.iter().filter(|owner| **owner == endpoint.address).count();
                assert!(share.abs_diff(fair) * 100 <= fair * within, "{kind:?}: {share} keys instead of {fair}");
            }
        }
    }

    #[test]
    fn who_cannot_be_used_is_skipped_and_takes_nobody_elses_keys_along() {
        for kind in [RING, MAGLEV] {
            let all = endpoints(0..5);
            let table = Table::new(kind, &all);
            for key in (0..1000u64).map(|key| hash(&key.to_le_bytes())) {
                let first = table.find(key, |_| true).unwrap();
                let second = table.find(key, |at| at != first).unwrap();
                assert_ne!(first, second);
                let third = (0..5).find(|at| *at != first && *at != second).unwrap();
                assert_eq!(table.find(key, |at| at != third), Some(first), "others out do not move a key");
                assert_eq!(table.find(key, |_| false), None);
            }
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let kept = endpoints(0..50);
        for (kind, places) in [
            (HashTable::Ring { minimum: 1024 }, 1050),
            (HashTable::Ring { minimum: 0 }, 50),
            (HashTable::Maglev { size: 65_536 }, 65_537),
            (HashTable::Maglev { size: 0 }, 3),
        ] {
            let len = match Table::new(kind, &kept) {
                Table::Ring(points) => points.len(),
                Table::Maglev(places) => places.len(),
            };
            assert_eq!(len, places, "{kind:?}");
        }
        assert_eq!(Table::new(MAGLEV, &[]).find(7, |_| true), None);
        assert_eq!(Table::new(RING, &[]).find(7, |_| true), None);
    }
}
