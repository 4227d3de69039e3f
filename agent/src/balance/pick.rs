//! Power of two choices: of two endpoints drawn at random, the less loaded one.
//!
//! What Envoy calls LEAST_REQUEST, Istio's default.

use super::{Endpoint, Group};
use crate::model::Workload;
use fastrand::Rng;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// For whom an endpoint is picked.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client.
    pub client: &'a Workload,
    /// The address that the client used.
    pub used: SocketAddr,
    /// What keeps it at its endpoint ([`crate::route::Upstream::hash`]).
    pub hash: Option<u64>,
    /// When it asks.
    pub now: Instant,
}

/// An endpoint of the group for a client, ready and not yet tried; none when there is none left.
pub fn pick(group: &Group, caller: &Caller<'_>, tried: &[SocketAddr], rng: &mut Rng) -> Option<Arc<Endpoint>> {
    two_choices(group, caller.used.ip(), tried, rng).cloned()
}

fn two_choices<'a>(
    group: &'a Group,
    address: IpAddr,
    exclude: &[SocketAddr],
    rng: &mut Rng,
) -> Option<&'a Arc<Endpoint>> {
    let ready = group.like(address);
    if exclude.is_empty() {
        let (first, second) = two_of(ready.len(), rng)?;
        return Some(lighter(&ready[first], &ready[second]));
    }
    let mut left = ready.iter().filter(|endpoint| !exclude.contains(&endpoint.address));
    let (first, second) = two_of(left.clone().count(), rng)?;
    let (low, high) = (first.min(second), first.max(second));
    let one = left.nth(low)?;
    let other = if high > low { left.nth(high - low - 1)? } else { one };
    // Which of two equals wins must not depend on their order in the group.
    Some(if first < second { lighter(one, other) } else { lighter(other, one) })
}

/// Two different indexes below `count`, the same one twice if there is only one.
fn two_of(count: usize, rng: &mut Rng) -> Option<(usize, usize)> {
    match count {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = rng.usize(..count);
            let second = rng.usize(..count - 1);
            Some((first, second + usize::from(second >= first)))
        }
    }
}

fn lighter<'a>(first: &'a Arc<Endpoint>, second: &'a Arc<Endpoint>) -> &'a Arc<Endpoint> {
    if second.load.open() < first.load.open() { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn group(count: u8) -> Group {
        let endpoint = |n| {
            let address = SocketAddr::from(([10, 0, 0, n], 80));
            Arc::new(Endpoint::new(address, None, Arc::default()))
        };
        Group::new((0..count).map(endpoint).collect(), 0)
    }

    fn shares(group: &Group, exclude: &[SocketAddr]) -> Vec<usize> {
        let mut rng = Rng::with_seed(7);
        let mut counts = vec![0; group.ready().len()];
        for _ in 0..30_000 {
            let picked = two_choices(group, V4, exclude, &mut rng).unwrap();
            let at = group.ready().iter().position(|endpoint| Arc::ptr_eq(endpoint, picked)).unwrap();
            counts[at] += 1;
        }
        counts
    }

    #[test]
    fn equals_get_equal_shares() {
        for count in [1, 2, 3, 5] {
            let shares = shares(&group(count), &[]);
            let fair = 30_000 / shares.len();
            assert!(shares.iter().all(|share| share.abs_diff(fair) < 500), "{shares:?}");
        }
    }

    #[test]
    fn what_was_tried_is_not_tried_again_and_the_rest_share_alike() {
        let group = group(4);
        let tried = [group.ready()[1].address];
        let shares = shares(&group, &tried);
        assert_eq!(shares[1], 0);
        assert!([0, 2, 3].iter().all(|&at| shares[at].abs_diff(10_000) < 500), "{shares:?}");

        let all: Vec<_> = group.ready().iter().map(|endpoint| endpoint.address).collect();
        assert!(two_choices(&group, V4, &all, &mut Rng::with_seed(1)).is_none());
        assert!(two_choices(&Group::default(), V4, &[], &mut Rng::with_seed(1)).is_none());
    }

    #[test]
    fn the_busiest_endpoint_is_never_taken_where_there_is_another() {
        let group = group(3);
        let _busy: Vec<_> = (0..5).map(|_| group.ready()[2].begin()).collect();
        assert_eq!(shares(&group, &[])[2], 0);
    }

    #[test]
    fn open_connections_even_out() {
        let group = group(10);
        let mut rng = Rng::with_seed(3);
        let open: Vec<_> = (0..1000).map(|_| two_choices(&group, V4, &[], &mut rng).unwrap().begin()).collect();
        let loads: Vec<_> = group.ready().iter().map(|endpoint| endpoint.load.open()).collect();
        assert_eq!(open.len(), loads.iter().sum::<usize>());
        assert!(loads.iter().all(|load| load.abs_diff(100) <= 5), "{loads:?}");
    }

    #[test]
    fn the_family_is_the_clients_where_there_is_one() {
        let of = |addresses: &[&str]| {
            let endpoint = |text: &&str| {
                let address = text.parse().unwrap();
                Arc::new(Endpoint::new(address, None, Arc::default()))
            };
            Group::new(addresses.iter().map(endpoint).collect(), 0)
        };
        let both = of(&["[fd00::1]:80", "10.0.0.1:80", "[fd00::2]:80"]);
        let mut rng = Rng::with_seed(5);
        for _ in 0..20 {
            assert!(two_choices(&both, V4, &[], &mut rng).unwrap().address.is_ipv4());
            assert!(two_choices(&both, V6, &[], &mut rng).unwrap().address.is_ipv6());
        }
        assert!(two_choices(&of(&["10.0.0.1:80"]), V6, &[], &mut rng).is_some());
        assert!(two_choices(&of(&["[fd00::1]:80"]), V4, &[], &mut rng).is_some());
    }
}
