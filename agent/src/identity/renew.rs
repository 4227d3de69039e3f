//! When a certificate is replaced. Pure: the time and the dice are arguments.

use super::issue::Validity;
use std::time::{Duration, SystemTime};

/// First wait after a failed renewal; doubled by every further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait between two attempts: ztunnel's.
const LAST_RETRY: Duration = Duration::from_secs(150);
/// How much of the life the jitter may take away from the half: the certificates that were issued
/// when the agent started are not all renewed in the same second.
const JITTER: f64 = 0.1;

/// What to do with a certificate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again after this time.
    Wait(Duration),
    /// Issue its successor.
    Renew,
}

/// The plan for one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    due: SystemTime,
    failures: u32,
}

impl Plan {
    /// Half of the time from `now` to the end, less up to a tenth of it by `dice` (0 to 1).
    pub fn new(validity: Validity, now: SystemTime, dice: f64) -> Self {
        let left = validity.not_after.duration_since(now).unwrap_or_default();
        Self { due: now + left.mul_f64(0.5 - JITTER * dice.clamp(0.0, 1.0)), failures: 0 }
    }

    /// Due at that time.
    pub fn at(due: SystemTime) -> Self {
        Self { due, failures: 0 }
    }

    /// Attempts that failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What to do at `now`.
    pub fn step(&self, now: SystemTime) -> Step {
        match self.due.duration_since(now) {
            Ok(left) if !left.is_zero() => Step::Wait(left),
            _ => Step::Renew,
        }
    }

    /// The plan after an attempt at `now` failed.
    pub fn failed(self, now: SystemTime) -> Self {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
        Self { due: now + wait, failures: self.failures + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const HOUR: Duration = Duration::from_secs(3600);

    fn day() -> Validity {
        Validity { not_before: UNIX_EPOCH, not_after: UNIX_EPOCH + 24 * HOUR }
    }

    #[test]
    fn half_life_without_jitter() {
        let plan = Plan::new(day(), UNIX_EPOCH, 0.0);
        assert_eq!(plan.step(UNIX_EPOCH), Step::Wait(12 * HOUR));
        assert_eq!(plan.step(UNIX_EPOCH + 11 * HOUR), Step::Wait(HOUR));
        assert_eq!(plan.step(UNIX_EPOCH + 12 * HOUR), Step::Renew);
    }

    #[test]
    fn jitter_only_makes_it_earlier() {
        let Step::Wait(wait) = Plan::new(day(), UNIX_EPOCH, 1.0).step(UNIX_EPOCH) else { panic!("due at once") };
        assert!(wait < 12 * HOUR && wait > 9 * HOUR, "{wait:?}");
    }

    #[test]
    fn failures_back_off_to_a_bound() {
        let mut plan = Plan::new(day(), UNIX_EPOCH, 0.0);
        let now = UNIX_EPOCH + 13 * HOUR;
        let mut waits = Vec::new();
        for _ in 0..40 {
            plan = plan.failed(now);
            let Step::Wait(wait) = plan.step(now) else { panic!("no wait") };
            waits.push(wait.as_secs());
        }
        assert_eq!(waits[..9], [1, 2, 4, 8, 16, 32, 64, 128, 150]);
        assert_eq!(waits[39], 150);
    }

    #[test]
    fn what_is_over_is_renewed_at_once() {
        assert_eq!(Plan::new(day(), UNIX_EPOCH + 25 * HOUR, 0.3).step(UNIX_EPOCH + 25 * HOUR), Step::Renew);
    }
}
