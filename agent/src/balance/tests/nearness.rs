//! Localities, nodes, labels: who comes first.

use super::*;
use crate::model::Distribution;
use crate::model::traffic_policy::LocalityPolicy;
use crate::vocab::NodeName;

fn local(locality: LocalityPolicy) -> PortPolicy {
    let mut policy = by(Algorithm::Random);
    policy.load_balancer.as_mut().unwrap().locality = Some(locality);
    policy
}

fn failing_over(locality: LocalityPolicy) -> PortPolicy {
    PortPolicy { outlier: Some(outlier()), ..local(locality) }
}

/// Who gets traffic, and then who does, with those before out, until nobody is left.
fn waves(bench: &mut Bench) -> Vec<Vec<usize>> {
    let mut waves = Vec::new();
    loop {
        let shares = bench.shares(1000);
        if shares[0] > 0 {
            return waves;
        }
        let wave: Vec<usize> = (1..shares.len()).filter(|n| shares[*n] > 0).collect();
        wave.iter().for_each(|n| bench.settle(*n, Outcome::Failed, 3));
        waves.push(wave);
    }
}

const MANY: [&str; 7] = ["us/c/1", "eu/a/2", "eu/b/1", "eu/a/1", "eu/a/1", "ap/d/1", "us/c/1"];

#[test]
fn the_nearest_come_first_with_outlier_detection_and_without_it_all_are_alike() {
    let regions = vec![("eu".into(), "ap".into()), ("us".into(), "eu".into())];
    let near = [vec![4, 5], vec![2], vec![3]];
    for (policy, expected) in [
        (judged(outlier()), [&near[..], &[vec![1, 6, 7]]].concat()),
        (failing_over(LocalityPolicy::Failover(regions.clone())), [&near[..], &[vec![6], vec![1, 7]]].concat()),
        (failing_over(LocalityPolicy::Off), vec![vec![1, 2, 3, 4, 5, 6, 7]]),
        (PortPolicy::default(), vec![vec![1, 2, 3, 4, 5, 6, 7]]),
        (local(LocalityPolicy::Failover(regions)), vec![vec![1, 2, 3, 4, 5, 6, 7]]),
    ] {
        let mut bench = Bench::new(policy.clone(), placed(&MANY));
        if policy.outlier.is_some() {
            assert_eq!(waves(&mut bench), expected, "{policy:?}");
        } else {
            assert!(bench.shares(1000)[1..].iter().all(|share| *share > 50), "{policy:?}");
        }
    }
}

#[test]
fn what_the_near_ones_cannot_carry_goes_on_to_the_next() {
    let mut bench =
        Bench::new(judged(outlier()), placed(&["eu/a/1", "eu/a/1", "eu/a/1", "eu/a/1", "eu/b/1", "us/c/1"]));
    assert_eq!(bench.shares(10_000)[5..], [0, 0]);
    bench.settle(1, Outcome::Failed, 3);
    assert_eq!(bench.shares(10_000)[5..], [0, 0], "three of four still count as all");
    bench.settle(2, Outcome::Failed, 3);
    let shares = bench.shares(10_000);
    assert!(shares[5].abs_diff(3000) < 200, "half of them carry 70 %: {shares:?}");
    assert_eq!((shares[1], shares[2], shares[6]), (0, 0, 0));
}

#[test]
fn clients_of_other_places_see_the_same_group_otherwise() {
    let mut bench = Bench::new(judged(outlier()), placed(&["eu/a/1", "us/c/1"]));
    for (locality, expected) in [("eu/a/1", 1), ("us/c/9", 2), ("eu/b/1", 1), ("us/c/1", 2), ("eu/a/1", 1)] {
        bench.client = at("client", "10.9.0.1", locality);
        assert_eq!(bench.picks(5), [expected; 5], "{locality}");
    }
}

#[test]
fn traffic_is_distributed_as_written_for_clients_of_a_locality() {
    let to = |to: &[(&str, u32)]| to.iter().map(|(locality, weight)| ((*locality).into(), *weight)).collect();
    let distribute = LocalityPolicy::Distribute(vec![
        ("eu/a/*".into(), to(&[("eu/a/*", 70), ("eu/b/*", 20), ("us/*", 10)])),
        ("us/c/1".into(), to(&[("us/*", 100)])),
    ]);
    let mut bench = Bench::new(local(distribute), placed(&["eu/a/1", "eu/a/2", "eu/b/1", "us/c/1", "ap/d/1"]));
    let shares = bench.shares(10_000);
    for (at, fair) in [(1, 3500), (2, 3500), (3, 2000), (4, 1000), (5, 0)] {
        assert!(shares[at].abs_diff(fair) < 200, "{shares:?}");
    }
    bench.client = at("client", "10.9.0.1", "us/c/1");
    assert_eq!(bench.picks(10), [4; 10]);
    bench.client = at("client", "10.9.0.1", "ap/d/1");
    assert!(bench.shares(1000)[1..].iter().all(|share| *share > 100), "nothing is said of clients there");
}

#[test]
fn endpoints_that_share_more_labels_come_first() {
    let labels: Vec<(Arc<str>, Option<Arc<str>>)> =
        vec![("topology.istio.io/network".into(), None), ("version".into(), Some("v1".into())), ("tier".into(), None)];
    let endpoint = |n: u8, network: &str, labels: &[(&str, &str)]| {
        let workload = Workload { network: network.into(), ..pod("shop/a", "10.0.0.1", labels) };
        Arc::new(Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)), Some(Arc::new(workload)), Arc::default()))
    };
    let endpoints = vec![
        endpoint(1, "n2", &[("version", "v1"), ("tier", "gold")]),
        endpoint(2, "n1", &[("version", "v2"), ("tier", "gold")]),
        endpoint(3, "n1", &[("version", "v1"), ("tier", "gold")]),
        endpoint(4, "n1", &[("version", "v1")]),
    ];
    let mut bench = Bench::new(failing_over(LocalityPolicy::FailoverPriority(labels)), endpoints);
    bench.client = Workload { network: "n1".into(), ..pod("shop/client", "10.9.0.1", &[("tier", "gold")]) };
    assert_eq!(waves(&mut bench), [vec![3], vec![4], vec![2], vec![1]]);
    bench.compile();
    bench.client = Workload { network: "n2".into(), ..pod("shop/client", "10.9.0.1", &[("tier", "lead")]) };
    bench.later(1000);
    assert_eq!(waves(&mut bench), [vec![1], vec![2, 3, 4]]);
}

#[test]
fn the_services_preference_is_followed_while_there_is_such_an_endpoint() {
    for (distribution, localities, expected) in [
        (Distribution::SameZone, &MANY[..], vec![2, 4, 5]),
        (Distribution::SameNode, &MANY[..], vec![2, 4, 5]),
        (Distribution::SameZone, &["us/c/1", "eu/b/1"], vec![2]),
        (Distribution::SameZone, &["us/c/1", "ap/d/1"], vec![1, 2]),
        (Distribution::Any, &["us/c/1", "eu/a/1"], vec![1, 2]),
    ] {
        let mut bench = Bench::new(by(Algorithm::Random), placed(localities));
        bench.service.distribution = distribution;
        bench.compile();
        let shares = bench.shares(1000);
        let taken: Vec<_> = (0..shares.len()).filter(|at| shares[*at] > 0).collect();
        assert_eq!(taken, expected, "{distribution:?} {localities:?}");
    }
}

#[test]
fn hints_count_before_places_if_every_endpoint_has_them() {
    let hinted = |zones: &[&[&str]]| {
        let mut endpoints = placed(&["eu/a/1", "eu/b/1"]);
        for (endpoint, zones) in endpoints.iter_mut().zip(zones) {
            Arc::get_mut(endpoint).unwrap().place.for_zones = zones.iter().map(|zone| Arc::from(*zone)).collect();
        }
        let mut bench = Bench::new(by(Algorithm::Random), endpoints);
        bench.service.distribution = Distribution::SameZone;
        bench.compile();
        bench.picks(20).into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(hinted(&[&["b"], &["a"]]), [2]);
    assert_eq!(hinted(&[&["b"], &["a", "b"]]), [2]);
    assert_eq!(hinted(&[&["b"], &[]]), [1], "hints that only some have are not used");
    let node: NodeName = "n-a".into();
    let mut endpoints = placed(&["eu/b/1", "eu/a/1"]);
    Arc::get_mut(&mut endpoints[0]).unwrap().place.for_nodes = [node].into();
    Arc::get_mut(&mut endpoints[1]).unwrap().place.for_nodes = ["n-b".into()].into();
    let mut bench = Bench::new(by(Algorithm::Random), endpoints);
    bench.service.distribution = Distribution::SameNode;
    bench.compile();
    assert_eq!(bench.picks(5), [1; 5]);
}

#[test]
fn a_node_local_service_has_no_other_endpoints() {
    let mut bench = Bench::new(PortPolicy::default(), placed(&["eu/a/1", "eu/b/1", "eu/a/1"]));
    bench.service.node_local = true;
    bench.compile();
    let shares = bench.shares(1000);
    assert_eq!((shares[0], shares[2]), (0, 0), "{shares:?}");
    assert!(shares[1] > 300 && shares[3] > 300, "{shares:?}");
    bench.client = at("client", "10.9.0.1", "us/c/1");
    assert_eq!(bench.pick(), 0);
}

#[test]
fn retries_stay_in_a_locality_or_leave_those_that_were_tried() {
    let mut bench = Bench::new(judged(outlier()), placed(&["eu/a/1", "eu/a/1", "eu/b/1", "us/c/1"]));
    for (tried, reach, expected) in [
        (&[][..], Reach::Near, [true, true, false, false]),
        (&[1], Reach::Near, [false, true, false, false]),
        (&[1], Reach::All, [false, true, false, false]),
        (&[1, 2], Reach::All, [false, false, true, false]),
        (&[1], Reach::Elsewhere, [false, false, true, false]),
        (&[1, 3], Reach::Elsewhere, [false, false, false, true]),
    ] {
        let picked: Vec<usize> = (0..100).map(|_| bench.within(tried, reach)).collect();
        let among = [1, 2, 3, 4].map(|n| picked.contains(&n));
        assert_eq!((among, picked.contains(&0)), (expected, false), "{tried:?} {reach:?}");
    }
    assert_eq!(bench.within(&[1, 2], Reach::Near), 0);
    assert_eq!(bench.within(&[1, 3, 4], Reach::Elsewhere), 0);
}

#[test]
fn shared_out_localities_are_all_near() {
    let shares = vec![("eu/*".into(), vec![("eu/a/*".into(), 50), ("eu/b/*".into(), 50)])];
    let mut bench = Bench::new(local(LocalityPolicy::Distribute(shares)), placed(&["eu/a/1", "eu/b/1"]));
    assert_eq!((0..20).map(|_| bench.within(&[1], Reach::Near)).max(), Some(2));
    assert_eq!((0..20).map(|_| bench.within(&[1], Reach::Near)).min(), Some(2));
}
