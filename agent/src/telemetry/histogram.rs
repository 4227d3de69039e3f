//! A histogram with Envoy's buckets: one atomic add per observation and one for the sum.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds, the same for milliseconds and bytes. Source: Envoy, source/common/stats/histogram_impl.cc,
/// `defaultBuckets`; Istio changes nothing about them.
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Counts per bucket. The sum is kept in thousandths, so that a duration of microseconds is exact.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_thousandths: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Observations at or below each bound, then all of them.
    pub cumulative: [u64; BOUNDS.len() + 1],
    /// The sum of all observations.
    pub sum: f64,
}

impl Histogram {
    /// Adds an observation in thousandths of the unit: microseconds where the unit is milliseconds.
    pub fn observe_thousandths(&self, thousandths: u64) {
        // Precision is lost above 2^53 thousandths only: far beyond the last bound.
        let value = thousandths as f64 / 1e3;
        let bucket = BOUNDS.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_thousandths.fetch_add(thousandths, Ordering::Relaxed);
    }

    /// Adds an observation in whole units.
    pub fn observe(&self, value: u64) {
        self.observe_thousandths(value.saturating_mul(1_000));
    }

    /// What it holds now.
    pub fn read(&self) -> Reading {
        let mut cumulative = [0; BOUNDS.len() + 1];
        let mut total = 0;
        for (slot, bucket) in cumulative.iter_mut().zip(&self.buckets) {
            total += bucket.load(Ordering::Relaxed);
            *slot = total;
        }
        Reading { cumulative, sum: self.sum_thousandths.load(Ordering::Relaxed) as f64 / 1e3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_below_it() {
        let histogram = Histogram::default();
        histogram.observe_thousandths(500);
        histogram.observe(1);
        histogram.observe(4_000_000);
        let reading = histogram.read();
        assert_eq!(reading.cumulative[0], 1, "0.5 is le=0.5");
        assert_eq!(reading.cumulative[1], 2, "1 is le=1");
        assert_eq!(reading.cumulative[18], 2, "4,000,000 is above every bound");
        assert_eq!(reading.cumulative[19], 3);
        assert_eq!(reading.sum, 4_000_001.5);
    }
}
