//! How many requests were begun lately: what a retry budget with an interval is a share of.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Parts of the interval: as one ends, a tenth of the interval is forgotten at once.
const PARTS: u64 = 10;

/// Counts by part of the interval, each with the number of that part since the beginning of time.
#[derive(Debug, Default)]
pub struct Recent {
    parts: [AtomicU64; PARTS as usize],
}

/// The number of a part, and what was begun in it.
const COUNT: u64 = 32;
const COUNTED: u64 = (1 << COUNT) - 1;

impl Recent {
    /// One was begun.
    pub fn begun(&self, now: Instant, interval: Duration) {
        let number = number(now, interval);
        let part = &self.parts[(number % PARTS) as usize];
        let more = |value: u64| match value >> COUNT == number {
            true => value + u64::from(value & COUNTED < COUNTED),
            false => (number << COUNT) | 1,
        };
        let _ = part.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(more(value)));
    }

    /// How many were begun in the interval that ends now.
    pub fn count(&self, now: Instant, interval: Duration) -> u32 {
        let number = number(now, interval);
        let values = self.parts.iter().map(|part| part.load(Ordering::Relaxed));
        let lately = values.filter(|value| number.wrapping_sub(value >> COUNT) < PARTS);
        u32::try_from(lately.map(|value| value & COUNTED).sum::<u64>()).unwrap_or(u32::MAX)
    }
}

fn number(now: Instant, interval: Duration) -> u64 {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
    let part = (interval.as_micros() / u128::from(PARTS)).max(1);
    // The first is 10, so that parts of nothing are older than any interval.
    let number = now.saturating_duration_since(*BEGINNING).as_micros() / part + u128::from(PARTS);
    number as u64 & COUNTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_longer_ago_than_the_interval_is_forgotten() {
        let (recent, interval, start) = (Recent::default(), Duration::from_secs(10), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(recent.count(at(0), interval), 0);
        for second in 0..20 {
            recent.begun(at(second), interval);
            recent.begun(at(second), interval);
        }
        assert_eq!(recent.count(at(19), interval), 20);
        assert_eq!(recent.count(at(24), interval), 10);
        assert_eq!(recent.count(at(40), interval), 0);
    }
}
