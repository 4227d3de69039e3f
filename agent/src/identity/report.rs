//! An identity's certificate as an operator sees it.

use super::renew::Step;
use super::store::Entry;
use crate::vocab::SpiffeId;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// A row of `/certs`.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose.
    pub identity: SpiffeId,
    /// `valid`, `expired`, or `none` before the first came.
    pub state: &'static str,
    /// Serial number, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Its key and signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<String>,
    /// Its first moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Its last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// How long it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// Where it comes from: the authority's address, or the directory of one that signs here.
    pub source: String,
    /// `in 11h 3m` or `due`; after failures how many there were, and the last one's reason.
    pub renewal: String,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
}

impl Row {
    pub(super) fn of(id: &SpiffeId, entry: &Entry, source: &str) -> Self {
        let now = SystemTime::now();
        let shown = entry.identity.as_deref();
        let left = shown.map(|identity| identity.not_after().duration_since(now).unwrap_or_default());
        let printed = shown.map(|identity| identity.printed.clone());
        let at = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
        Self {
            identity: id.clone(),
            state: match left {
                None => "none",
                Some(Duration::ZERO) => "expired",
                Some(_) => "valid",
            },
            serial: printed.as_ref().map(|printed| printed.serial.clone()),
            issuer: printed.as_ref().map(|printed| printed.issuer.clone()),
            algorithms: printed.map(|printed| printed.algorithms),
            not_before: shown.map(|identity| at(identity.validity.not_before)),
            not_after: shown.map(|identity| at(identity.validity.not_after)),
            expires_in_seconds: left.map(|left| left.as_secs()),
            source: source.to_owned(),
            renewal: renewal(entry, now),
            failures: entry.plan.failures(),
        }
    }
}

fn renewal(entry: &Entry, now: SystemTime) -> String {
    let next = match entry.plan.step(now) {
        Step::Wait(wait) => format!("in {}", humantime::format_duration(Duration::from_secs(wait.as_secs()))),
        Step::Renew => "due".to_owned(),
    };
    match &entry.error {
        Some(error) => format!("{next}, failed {} times: {error}", entry.plan.failures()),
        None => next,
    }
}
