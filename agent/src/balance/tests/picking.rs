//! The algorithms, where every endpoint is well and near.

use super::*;
use crate::model::traffic_policy::{HashKey, HashTable, Warmup};

fn even(shares: &[usize], fair: usize) -> bool {
    shares.iter().all(|share| share.abs_diff(fair) < 500)
}

#[test]
fn equals_get_equal_shares() {
    for algorithm in [Algorithm::LeastRequest, Algorithm::Random, Algorithm::RoundRobin] {
        for count in [1, 2, 3, 5] {
            let shares = Bench::new(by(algorithm.clone()), some(count)).shares(30_000);
            assert!(even(&shares[1..], 30_000 / usize::from(count)), "{algorithm:?} {shares:?}");
        }
    }
}

#[test]
fn what_was_tried_is_not_tried_again_and_the_rest_share_alike() {
    for algorithm in [Algorithm::LeastRequest, Algorithm::Random, Algorithm::RoundRobin] {
        let mut bench = Bench::new(by(algorithm.clone()), some(4));
        let tried = [bench.one(2).address];
        let mut shares = [0; 5];
        for _ in 0..30_000 {
            shares[number(&bench.but(&tried).unwrap())] += 1;
        }
        assert_eq!(shares[2], 0);
        assert!(even(&[shares[1], shares[3], shares[4]], 10_000), "{algorithm:?} {shares:?}");
        let all: Vec<_> = bench.endpoints.iter().map(|endpoint| endpoint.address).collect();
        assert!(bench.but(&all).is_none());
        assert!(bench.but(&all[1..]).is_some_and(|last| last.address == all[0]));
    }
    assert!(Bench::new(PortPolicy::default(), vec![]).but(&[]).is_none());
}

#[test]
fn the_busiest_endpoint_is_never_taken_where_there_is_another() {
    let mut bench = Bench::new(PortPolicy::default(), some(3));
    let _busy: Vec<_> = (0..5).map(|_| bench.endpoints[2].begin()).collect();
    assert_eq!(bench.shares(1000)[3], 0);
}

#[test]
fn open_connections_even_out() {
    let mut bench = Bench::new(PortPolicy::default(), some(10));
    let open: Vec<_> = (0..1000).map(|_| bench.but(&[]).unwrap().begin()).collect();
    let loads: Vec<_> = bench.group.ready().iter().map(|endpoint| endpoint.load.open()).collect();
    assert_eq!(open.len(), loads.iter().sum::<usize>());
    assert!(loads.iter().all(|load| load.abs_diff(100) <= 5), "{loads:?}");
}

#[test]
fn round_robin_goes_on_where_the_last_snapshot_stopped() {
    let mut bench = Bench::new(by(Algorithm::RoundRobin), some(4));
    let first = bench.picks(3);
    bench.compile();
    let mut round = [first, bench.picks(1)].concat();
    round.sort_unstable();
    assert_eq!(round, [1, 2, 3, 4]);
}

#[test]
fn the_family_is_the_clients_where_there_is_one() {
    let of = |addresses: &[&str]| {
        let endpoint = |text: &&str| Arc::new(Endpoint::new(text.parse().unwrap(), None, Arc::default()));
        Bench::new(PortPolicy::default(), addresses.iter().map(endpoint).collect())
    };
    let mut both = of(&["[fd00::1]:80", "10.0.0.1:80", "[fd00::2]:80"]);
    for used in ["10.96.0.1:80", "[fd96::1]:80"] {
        both.used = used.parse().unwrap();
        for _ in 0..20 {
            assert_eq!(both.but(&[]).unwrap().address.is_ipv4(), both.used.is_ipv4());
        }
    }
    let mut v4_only = of(&["10.0.0.1:80"]);
    v4_only.used = "[fd96::1]:80".parse().unwrap();
    assert!(v4_only.but(&[]).is_some());
    assert!(of(&["[fd00::1]:80"]).but(&[]).is_some());
}

#[test]
fn passthrough_goes_to_the_address_that_the_client_used() {
    let mut bench = Bench::new(by(Algorithm::Passthrough), some(2));
    assert_eq!(bench.but(&[]).unwrap().address.to_string(), "10.96.0.1:80");
    bench.used = "10.0.0.2:80".parse().unwrap();
    let known = bench.but(&[]).unwrap();
    assert!(Arc::ptr_eq(&known, bench.one(2)), "an endpoint is found again, with its pod");
    assert!(bench.but(&[known.address]).is_none());
    assert!(!Bench::new(by(Algorithm::Passthrough), vec![]).group.is_empty());
}

fn hashed(table: HashTable) -> PortPolicy {
    by(Algorithm::ConsistentHash { key: HashKey::SourceIp, table })
}

#[test]
fn a_key_stays_at_its_endpoint_and_goes_to_one_other_while_that_cannot_be_used() {
    for table in [HashTable::Ring { minimum: 1024 }, HashTable::Maglev { size: 65_537 }] {
        let mut bench = Bench::new(hashed(table), some(10));
        let mut seen = [0; 11];
        for key in 0..200u64 {
            bench.hash = Some(hash(&key.to_le_bytes()));
            let home = bench.but(&[]).unwrap();
            seen[number(&home)] += 1;
            assert!((0..5).all(|_| bench.pick() == number(&home)));
            let other = bench.but(&[home.address]).unwrap();
            assert_ne!(other.address, home.address);
            assert!((0..5).all(|_| bench.but(&[home.address]).unwrap().address == other.address));
        }
        assert!(seen[1..].iter().all(|keys| *keys > 5), "{seen:?}");
        bench.hash = None;
        assert!(bench.shares(1000)[1..].iter().all(|share| *share > 30), "without a key, any endpoint");
    }
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    let duration = Duration::from_secs(100);
    let curve = Warmup { duration, minimum_percent: 10.0, aggression: 1.0 };
    for algorithm in [Algorithm::LeastRequest, Algorithm::Random, Algorithm::RoundRobin] {
        let mut policy = by(algorithm.clone());
        policy.load_balancer.as_mut().unwrap().warmup = Some(curve);
        let mut bench = Bench::new(policy, some(3));
        bench.later(200);
        bench.endpoints = some(4);
        bench.compile();
        for (seconds, percent) in [(0, 10), (25, 25), (25, 50), (50, 100), (1000, 100)] {
            bench.later(seconds);
            let shares = bench.shares(30_000);
            let full = (shares[1] + shares[2] + shares[3]) / 3;
            let part = shares[4] * 100 / full;
            assert!(part.abs_diff(percent) <= 4, "{algorithm:?} {percent} %: {shares:?}");
        }
    }
}

#[test]
fn an_endpoint_is_as_old_as_its_pod_says() {
    let curve = Warmup { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression: 1.0 };
    let mut policy = by(Algorithm::Random);
    policy.load_balancer.as_mut().unwrap().warmup = Some(curve);
    let ready_since = |n: u8, seconds: u64| {
        let ready_since = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let workload = Workload { ready_since, ..pod("shop/a", "10.0.0.1", &[]) };
        let address = SocketAddr::from(([10, 0, 0, n], 80));
        Arc::new(Endpoint::new(address, Some(Arc::new(workload)), Arc::default()))
    };
    let mut bench = Bench::new(policy, vec![ready_since(1, 999_000), ready_since(2, 999_950)]);
    let shares = bench.shares(30_000);
    assert!((shares[2] * 100 / shares[1]).abs_diff(50) < 4, "{shares:?}");
}

#[test]
fn a_client_keeps_its_endpoint_until_it_was_away_for_long() {
    let mut bench = Bench::new(PortPolicy::default(), some(50));
    bench.service.affinity = Some(Duration::from_secs(60));
    bench.compile();
    let first = bench.pick();
    for _ in 0..20 {
        bench.later(59);
        assert_eq!(bench.pick(), first);
    }
    bench.compile();
    assert_eq!(bench.pick(), first, "over snapshots too");
    let own = bench.one(first).address;
    let other = number(&bench.but(&[own]).unwrap());
    assert_eq!(bench.pick(), other, "who could not be reached is not gone back to");
    bench.later(60);
    let after: std::collections::BTreeSet<_> = (0..10)
        .map(|_| {
            bench.later(60);
            bench.pick()
        })
        .collect();
    assert!(after.len() > 3, "{after:?}");

    bench.client = at("other", "10.9.0.2", "eu/a/1");
    let kept = bench.pick();
    bench.endpoints.retain(|endpoint| number(endpoint) != kept);
    bench.compile();
    assert_ne!(bench.pick(), kept, "it is gone");
}
