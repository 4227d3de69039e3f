//! `timeouts` and `retry` of an HTTPRoute's rule.

use super::Reading;
use super::raw::{Retry as RawRetry, Timeouts};
use crate::model::http_rule::{Retry, RetryOn};
use crate::source::path::Path;
use http::StatusCode;
use std::time::Duration;

/// Repetitions where `retry` says no number.
const DEFAULT_ATTEMPTS: u32 = 2;

/// The times of a rule.
pub struct Timing {
    /// Of the whole exchange.
    pub timeout: Option<Duration>,
    /// Of one attempt, and when there is another one.
    pub retry: Option<Retry>,
}

impl Reading<'_, '_> {
    /// The times of a rule; zero is without limit, as nothing said is.
    pub fn timing(&mut self, timeouts: &Timeouts, retry: Option<&RawRetry>, rule: &Path) -> Timing {
        let path = rule.key("timeouts");
        let whole = self.duration(timeouts.request.as_deref(), &path.key("request"));
        let one = self.duration(timeouts.backend_request.as_deref(), &path.key("backendRequest"));
        if let (Some(whole), Some(one)) = (whole, one)
            && !whole.is_zero()
            && one > whole
        {
            let what = "is longer than the request's whole timeout: it cannot be reached";
            self.notes.invalid("invalid-value", &path.key("backendRequest"), what);
        }
        let limit = |time: Option<Duration>| time.filter(|time| !time.is_zero());
        let per_try = limit(one);
        let retry = retry.map(|retry| self.retry(retry, per_try, &rule.key("retry")));
        Timing { timeout: limit(whole), retry: retry.or_else(|| per_try.map(|per_try| attempt(Some(per_try)))) }
    }

    fn retry(&mut self, raw: &RawRetry, per_try: Option<Duration>, path: &Path) -> Retry {
        let attempts = match raw.attempts.map(u32::try_from) {
            None => DEFAULT_ATTEMPTS,
            Some(Ok(attempts)) => attempts,
            Some(Err(_)) => {
                self.notes.invalid("out-of-range", &path.key("attempts"), "has to be 0 or more");
                0
            }
        };
        let mut statuses = Vec::with_capacity(raw.codes.len());
        for (at, code) in raw.codes.iter().enumerate() {
            let status = u16::try_from(*code).ok().filter(|code| (400..600).contains(code));
            match status.and_then(|code| StatusCode::from_u16(code).ok()) {
                Some(status) => statuses.push(status),
                None => {
                    let what = format!("{code} is not a status of a failure: it has to be 400 to 599");
                    self.notes.invalid("out-of-range", &path.key("codes").index(at), what);
                }
            }
        }
        // Whatever the codes: what the endpoint did not begin with is repeated, and what took longer than one attempt
        // may; nothing else that it may have done.
        let on = RetryOn {
            connect_failure: true,
            refused_stream: true,
            reset_before_request: true,
            timed_out: true,
            statuses,
            ..RetryOn::default()
        };
        let backoff = self.duration(raw.backoff.as_deref(), &path.key("backoff")).filter(|time| !time.is_zero());
        Retry { attempts, on, backoff, ..attempt(per_try) }
    }

    /// A duration of GEP-2257.
    fn duration(&mut self, text: Option<&str>, path: &Path) -> Option<Duration> {
        let text = text?;
        let duration = parse(text);
        if duration.is_none() {
            let what =
                format!("`{text}` is not a duration such as 10s, 500ms or 1h30m: whole numbers with h, m, s or ms");
            self.notes.invalid("invalid-duration", path, what);
        }
        duration
    }
}

/// One attempt that may take so long, and no other after it.
fn attempt(per_try: Option<Duration>) -> Retry {
    let on = RetryOn::default();
    Retry { attempts: 0, per_try, on, backoff: None, other_host: true, remote_localities: true }
}

/// One to four whole numbers of at most five digits with units.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| (1..=5).contains(digits))?;
        let number: u64 = rest[..digits].parse().ok()?;
        let (unit, millis) = UNITS.iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
        total += Duration::from_millis(number * millis);
        rest = &rest[digits + unit.len()..];
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// The units; `ms` before `m`.
const UNITS: &[(&str, u64)] = &[("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_those_of_gep_2257() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1h1m1s1ms1s", None),
            ("1d", None),
            ("1 s", None),
        ] {
            assert_eq!(parse(text).map(|time| time.as_millis()), millis, "{text}");
        }
    }
}
