//! Every target, for a moment, with its seeds and with what a few thousand mutations make of them.

use fastrand::Rng;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};
use underpass_fuzz::mutate::mutated;
use underpass_fuzz::{TARGETS, Target};

/// For each target.
const BUDGET: Duration = Duration::from_secs(2);

#[test]
fn no_target_breaks_for_a_moment_of_mutations() {
    std::thread::scope(|scope| {
        for target in &TARGETS {
            scope.spawn(|| feed(target));
        }
    });
}

fn feed(target: &Target) {
    let seeds = target.seeds();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    seeds.iter().for_each(|seed| (target.run)(seed));
    let (mut rng, since) = (Rng::with_seed(7), Instant::now());
    while since.elapsed() < BUDGET {
        let bytes = mutated(&seeds, &mut rng);
        if catch_unwind(|| (target.run)(&bytes)).is_err() {
            panic!("{} breaks for {:?}", target.name, String::from_utf8_lossy(&bytes));
        }
    }
}
