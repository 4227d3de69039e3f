//! A new endpoint gets its share little by little.

use crate::model::traffic_policy::Warmup;
use std::time::{Duration, Instant};

/// An endpoint's way to its full share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warming {
    /// When it began to take traffic.
    pub since: Instant,
    /// How it goes.
    pub curve: Warmup,
}

impl Warming {
    /// When it has its full share.
    pub fn end(&self) -> Instant {
        self.since + self.curve.duration
    }

    /// Its part of a full share, up to 1.
    pub fn share(&self, now: Instant) -> f64 {
        let Warmup { duration, minimum_percent, aggression } = self.curve;
        let age = now.saturating_duration_since(self.since);
        if age >= duration {
            return 1.0;
        }
        // Envoy counts the first second as a whole one too: a share of nothing would never grow.
        let part = age.max(Duration::from_secs(1)).as_secs_f64() / duration.as_secs_f64();
        let exponent = if aggression > 0.0 { aggression.recip() } else { 1.0 };
        part.powf(exponent).clamp(minimum_percent / 100.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_along_the_curve_from_its_minimum() {
        let since = Instant::now();
        let share = |aggression, seconds| {
            let curve = Warmup { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression };
            (Warming { since, curve }.share(since + Duration::from_secs(seconds)) * 1000.0).round() / 1000.0
        };
        for (aggression, seconds, expected) in [
            (1.0, 0, 0.1),
            (1.0, 5, 0.1),
            (1.0, 25, 0.25),
            (1.0, 99, 0.99),
            (1.0, 100, 1.0),
            (1.0, 10_000, 1.0),
            (2.0, 25, 0.5),
            (0.5, 50, 0.25),
        ] {
            assert_eq!(share(aggression, seconds), expected, "aggression {aggression} after {seconds} s");
        }
    }
}
