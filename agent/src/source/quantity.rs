//! Durations, shares and counts, as users write them.

use super::notes::Notes;
use super::path::Path;
use crate::model::http_rule::Share;
use http::StatusCode;
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The API server takes none that is shorter in most of Istio's fields.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longer than anything is meant to last (a hundred years), and far from any overflow.
const LONGEST_SECONDS: f64 = 3_155_760_000.0;

/// Istio's Percent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Percent {
    /// 0 to 100, with fractions.
    pub value: f64,
}

/// A duration of at least a millisecond.
pub fn duration(raw: Option<&String>, path: &Path, notes: &mut Notes<'_>) -> Option<Duration> {
    let duration = duration_or_zero(raw, path, notes)?;
    if duration < SHORTEST {
        notes.invalid("invalid-duration", path, format!("{duration:?} is too short: the least is 1ms"));
        return None;
    }
    Some(duration)
}

/// A duration, or zero.
pub fn duration_or_zero(raw: Option<&String>, path: &Path, notes: &mut Notes<'_>) -> Option<Duration> {
    parse(raw?).map_err(|what| notes.invalid("invalid-duration", path, what)).ok()
}

/// Go's syntax of durations, which Istio's fields have: numbers with units, one after the other.
fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write it like 5s, 1.5s, 250ms or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number * unit(&rest[..letters]).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    if seconds > LONGEST_SECONDS {
        return Err(format!("`{text}` is longer than a hundred years"));
    }
    // Rounded, because 0.1 is no binary fraction.
    Ok(Duration::from_micros(Duration::from_secs_f64(seconds + 5e-7).as_micros().try_into().map_err(|_| wrong())?))
}

fn unit(text: &str) -> Option<f64> {
    Some(match text {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// A share of the requests.
pub fn share(raw: Percent, path: &Path, notes: &mut Notes<'_>) -> Option<Share> {
    percent(raw.value, path, notes).map(|percent| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1,000,000.
        Share((percent * 10_000.0).round() as u32)
    })
}

/// A number from 0 to 100.
pub fn percent(value: f64, path: &Path, notes: &mut Notes<'_>) -> Option<f64> {
    if (0.0..=100.0).contains(&value) {
        return Some(value);
    }
    notes.invalid("out-of-range", path, format!("{value} is not a percentage: it has to be 0 to 100"));
    None
}

/// A whole number of a range; none where it is not given.
pub fn count(raw: Option<i64>, range: RangeInclusive<u32>, path: &Path, notes: &mut Notes<'_>) -> Option<u32> {
    let number = raw?;
    match u32::try_from(number) {
        Ok(count) if range.contains(&count) => Some(count),
        _ => {
            let what = match *range.end() {
                u32::MAX => format!("{number} is out of range: the least is {}", range.start()),
                most => format!("{number} is out of range: it has to be {} to {most}", range.start()),
            };
            notes.invalid("out-of-range", path, what);
            None
        }
    }
}

/// The status of an answer.
pub fn status(number: i64, path: &Path, notes: &mut Notes<'_>) -> Option<StatusCode> {
    let found = u16::try_from(number).ok().filter(|number| (200..=599).contains(number));
    let found = found.and_then(|number| StatusCode::from_u16(number).ok());
    if found.is_none() {
        notes.invalid("out-of-range", path, format!("{number} is not a status for an answer: it has to be 200 to 599"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_does() {
        for (text, micros) in [
            ("5s", 5_000_000),
            ("0.1s", 100_000),
            ("1.5h", 5_400_000_000),
            ("1h30m", 5_400_000_000),
            ("250ms", 250_000),
            (".5s", 500_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text).map(|found| found.as_micros()), Ok(micros), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1d", "5s5", "1..5s", "1s ", "NaNs", "infs", "999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
