//! What a CA counts.

use super::signer::Signer;
use crate::telemetry::{Kind, Labels, Page, Pieces};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Answers by result: `issued`, or why not.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// One more.
    pub fn count(&self, result: &'static str) {
        *self.0.lock().entry(result).or_default() += 1;
    }

    /// A page for Prometheus.
    pub fn scrape(&self, signer: &Signer) -> Pieces {
        let mut page = Page::default();
        page.family("underpass_ca_requests_total", Kind::Counter, "Certificates that were asked for, by result.");
        for (result, count) in &*self.0.lock() {
            page.sample(Labels::default().with("result", result).as_str(), count);
        }
        let left = signer.not_after().duration_since(SystemTime::now()).as_ref().map_or(0, Duration::as_secs);
        let help = "Seconds until the authority, or a link of its chain, ends; 0 once it has.";
        page.single("underpass_ca_expiry_seconds", Kind::Gauge, help, left);
        Box::new(std::iter::once(page.finish()))
    }
}
