//! When a failed attempt is repeated.

use super::Reading;
use super::raw::Retries;
use crate::model::http_rule::{Retry, RetryOn};
use crate::source::path::Path;
use crate::source::quantity;
use crate::source::schema::nearest;
use http::StatusCode;

/// The words of `retryOn`: Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const WORDS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// More is no retry but a storm.
const MOST_ATTEMPTS: u32 = 1000;

impl Reading<'_, '_> {
    /// What `retries` says: with `attempts: 0` there are none.
    pub fn retries(&mut self, raw: &Retries, path: &Path) -> Retry {
        let attempts = quantity::count(Some(raw.attempts), 0..=MOST_ATTEMPTS, &path.key("attempts"), self.notes);
        let says_more =
            raw.per_try_timeout.is_some() || !raw.retry_on.is_empty() || raw.retry_remote_localities.is_some();
        if attempts == Some(0) && says_more {
            let what = "`attempts` is 0 or missing, which switches retries off, and yet there is a policy for them: say how many, or leave out the rest";
            self.notes.error("conflict", path, what);
        }
        let on = match raw.retry_on.trim() {
            "" => RetryOn::usual(),
            words => self.retry_on(words, &path.key("retryOn")),
        };
        Retry {
            attempts: attempts.unwrap_or_default(),
            per_try: quantity::duration(raw.per_try_timeout.as_ref(), &path.key("perTryTimeout"), self.notes),
            on,
            backoff: quantity::duration(raw.backoff.as_ref(), &path.key("backoff"), self.notes),
            other_host: raw.retry_ignore_previous_hosts.unwrap_or(true),
            remote_localities: raw.retry_remote_localities.unwrap_or(false),
        }
    }

    fn retry_on(&mut self, words: &str, path: &Path) -> RetryOn {
        let mut on = RetryOn::default();
        let words: Vec<&str> = words.split(',').map(str::trim).collect();
        for word in &words {
            if let Some(status) = word.parse().ok().and_then(|number: u16| StatusCode::from_u16(number).ok()) {
                on.statuses.push(status);
            } else if !take(&mut on, word) {
                let meant = nearest(word, WORDS).map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default();
                let what = format!("`{word}` is no condition and no status code{meant}");
                self.notes.invalid("invalid-value", path, what);
            }
        }
        if words.contains(&"retriable-status-codes") && on.statuses.is_empty() {
            let what = "retriable-status-codes means nothing without codes: write them here too, such as `503`";
            self.notes.warning("no-effect", path, what);
        }
        for (word, why) in [
            ("retriable-headers", "a VirtualService cannot say which headers"),
            ("http3-post-connect-failure", "HTTP/3 is not spoken"),
        ] {
            if words.contains(&word) {
                self.notes.warning("no-effect", path, format!("{word} means nothing here: {why}; remove it"));
            }
        }
        on
    }
}

/// Takes a word in; whether it is one.
fn take(on: &mut RetryOn, word: &str) -> bool {
    let grpc = |on: &mut RetryOn, code| on.grpc.push(code);
    match word {
        "5xx" => on.server_error = true,
        "gateway-error" => on.gateway_error = true,
        "reset" => on.reset = true,
        "reset-before-request" => on.reset_before_request = true,
        "connect-failure" => on.connect_failure = true,
        "retriable-4xx" => on.conflict = true,
        "refused-stream" => on.refused_stream = true,
        "envoy-ratelimited" => on.rate_limited = true,
        "cancelled" => grpc(on, 1),
        "deadline-exceeded" => grpc(on, 4),
        "resource-exhausted" => grpc(on, 8),
        "internal" => grpc(on, 13),
        "unavailable" => grpc(on, 14),
        other => return WORDS.contains(&other),
    }
    true
}
