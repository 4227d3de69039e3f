//! Endpoints that fail are left out, and come back.

use super::*;
use http::StatusCode;

const OK: Outcome = Outcome::Answered(StatusCode::OK);
const ERROR: Outcome = Outcome::Answered(StatusCode::INTERNAL_SERVER_ERROR);
const UNAVAILABLE: Outcome = Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE);
const NOT_FOUND: Outcome = Outcome::Answered(StatusCode::NOT_FOUND);

/// Ten endpoints, any of them.
fn bench(outlier: OutlierDetection) -> Bench {
    let policy = PortPolicy { outlier: Some(outlier), ..by(Algorithm::Random) };
    Bench::new(policy, some(10))
}

#[test]
fn failures_in_a_row_put_an_endpoint_out_and_one_success_between_them_does_not() {
    let split = OutlierDetection { split_local: true, local_failures: 2, ..outlier() };
    let gateway = OutlierDetection { gateway_errors: 2, ..outlier() };
    let named = OutlierDetection { statuses: vec![StatusCode::NOT_FOUND], ..outlier() };
    let off = OutlierDetection { server_errors: 0, ..outlier() };
    use Outcome::{Connected, Failed};
    for (rule, outcomes, out) in [
        (outlier(), vec![ERROR, ERROR, ERROR], true),
        (outlier(), vec![ERROR, ERROR], false),
        (outlier(), vec![ERROR, ERROR, OK, ERROR, ERROR], false),
        (outlier(), vec![ERROR, ERROR, NOT_FOUND, ERROR, ERROR], false),
        (outlier(), vec![ERROR, UNAVAILABLE, Failed], true),
        (outlier(), vec![Failed, Failed, Failed], true),
        (outlier(), vec![Failed, Failed, Connected, Failed, Failed], false),
        (split.clone(), vec![Failed, Failed], true),
        (split.clone(), vec![Failed, ERROR, Failed], false),
        (split.clone(), vec![ERROR, ERROR, Failed, ERROR], true),
        (gateway.clone(), vec![UNAVAILABLE, UNAVAILABLE], true),
        (gateway.clone(), vec![UNAVAILABLE, Failed], true),
        (gateway.clone(), vec![UNAVAILABLE, ERROR, UNAVAILABLE], true),
        (gateway, vec![UNAVAILABLE, ERROR], false),
        (named.clone(), vec![NOT_FOUND, NOT_FOUND, NOT_FOUND], true),
        (named, vec![ERROR, ERROR, ERROR, ERROR], false),
        (off, vec![ERROR; 50], false),
    ] {
        let mut bench = bench(rule.clone());
        outcomes.iter().for_each(|outcome| bench.settle(4, *outcome, 1));
        assert_eq!(bench.one(4).is_out(), out, "{outcomes:?} under {rule:?}");
        assert_eq!(bench.shares(1000)[4] == 0, out);
        assert_eq!(bench.standing.ejections().active(), usize::from(out));
    }
}

#[test]
fn it_comes_back_at_the_look_after_its_time_and_stays_out_longer_each_time() {
    let mut bench = bench(outlier());
    for (lasts, shorter) in [(30, 20), (60, 50), (90, 80)] {
        bench.settle(4, ERROR, 3);
        bench.later(shorter);
        assert_eq!(bench.shares(500)[4], 0, "{shorter} s of {lasts} s");
        bench.later(lasts - shorter);
        assert!(bench.shares(500)[4] > 0, "after {lasts} s");
    }
    assert_eq!((bench.standing.ejections().active(), bench.standing.ejections().total()), (0, 3));
    // Ten quiet looks later nothing is remembered.
    bench.later(200);
    bench.pick();
    bench.settle(4, ERROR, 3);
    bench.later(30);
    assert!(bench.shares(500)[4] > 0);
}

#[test]
fn an_ejection_has_an_end_however_often_it_happened() {
    let mut bench = bench(OutlierDetection { base_ejection: Duration::from_secs(200), ..outlier() });
    for lasts in [200, 300, 300, 300] {
        bench.settle(4, ERROR, 3);
        bench.later(lasts - 10);
        assert_eq!(bench.shares(500)[4], 0);
        bench.later(10);
        assert!(bench.shares(500)[4] > 0);
    }
}

#[test]
fn not_more_than_the_allowed_part_is_out_but_always_the_first() {
    for (percent, expected) in [(100, 10), (50, 5), (25, 2), (10, 1), (1, 1), (0, 0)] {
        let bench = bench(OutlierDetection { max_ejection_percent: percent, ..outlier() });
        (1..=10).for_each(|n| bench.settle(n, ERROR, 30));
        assert_eq!(bench.standing.ejections().active(), expected, "{percent} %");
    }
}

#[test]
fn nobody_is_left_when_all_are_out_unless_there_is_a_minimum() {
    for (minimum, out, used) in [(0, 10, false), (50, 10, true), (50, 6, true), (50, 5, false)] {
        let mut bench = bench(OutlierDetection { min_health_percent: minimum, ..outlier() });
        (1..=out).for_each(|n| bench.settle(n, ERROR, 3));
        let shares = bench.shares(1000);
        assert_eq!(shares[1] > 0, used, "{out} of 10 out, minimum {minimum} %: {shares:?}");
        assert_eq!(shares[0] == 1000, out == 10 && !used);
    }
}

#[test]
fn a_new_snapshot_remembers_and_a_new_pod_starts_anew() {
    let mut bench = Bench::new(judged(outlier()), placed(&["eu/a/1"; 3]));
    bench.settle(1, ERROR, 3);
    bench.settle(2, ERROR, 2);
    bench.compile();
    assert!(bench.one(1).is_out());
    bench.settle(2, ERROR, 1);
    assert!(bench.one(2).is_out(), "the row goes on over snapshots");

    let other = Arc::new(at("another", "10.0.0.1", "eu/a/1"));
    bench.endpoints[0] = Arc::new(Endpoint::new("10.0.0.1:80".parse().unwrap(), Some(other), Arc::default()));
    bench.compile();
    assert!(!bench.one(1).is_out());
    bench.later(10);
    bench.pick();
    assert_eq!(bench.standing.ejections().active(), 1, "who is gone is not counted any more");
}

#[test]
fn without_outlier_detection_nothing_is_counted() {
    let mut bench = Bench::new(PortPolicy::default(), some(2));
    bench.settle(1, Outcome::Failed, 100);
    assert!(bench.shares(100)[1] > 0);
}

#[test]
fn round_robin_and_hashes_pass_over_who_is_out() {
    let mut bench = Bench::new(PortPolicy { outlier: Some(outlier()), ..by(Algorithm::RoundRobin) }, some(4));
    bench.settle(2, ERROR, 3);
    let shares = bench.shares(3000);
    assert_eq!(shares, [0, 1000, 0, 1000, 1000], "each of the others alike");
}

#[test]
fn many_threads_put_an_endpoint_out_once() {
    let bench = bench(outlier());
    let one = bench.one(1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1000).for_each(|_| one.settle(ERROR, bench.now)));
        }
    });
    assert_eq!((bench.standing.ejections().active(), bench.standing.ejections().total()), (1, 1));
}
