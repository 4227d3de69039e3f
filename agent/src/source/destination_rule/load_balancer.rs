//! Which endpoint takes a connection or a request.

use super::{Reading, raw};
use crate::model::traffic_policy::{Algorithm, LoadBalancer, Warmup};
use crate::source::path::Path;
use crate::source::quantity;

impl Reading<'_, '_> {
    /// What `loadBalancer` says.
    pub fn load_balancer(&mut self, raw: &raw::LoadBalancer, path: &Path) -> LoadBalancer {
        let locality = raw.locality_lb_setting.as_ref();
        LoadBalancer {
            algorithm: self.algorithm(raw, path),
            locality: locality.and_then(|raw| self.locality(raw, &path.key("localityLbSetting"))),
            warmup: self.warmup(raw, path),
        }
    }

    fn algorithm(&mut self, raw: &raw::LoadBalancer, path: &Path) -> Algorithm {
        let simple = path.key("simple");
        match (raw.simple.as_deref(), &raw.consistent_hash) {
            (Some(_), Some(_)) => {
                self.notes.error("conflict", &path.key("consistentHash"), "stands beside `simple`: keep one of them");
                Algorithm::default()
            }
            (None, Some(raw)) => {
                let hash = self.consistent_hash(raw, &path.key("consistentHash"));
                hash.map_or_else(Algorithm::default, |(key, table)| Algorithm::ConsistentHash { key, table })
            }
            (None | Some("UNSPECIFIED" | "LEAST_REQUEST"), None) => Algorithm::LeastRequest,
            (Some("LEAST_CONN"), None) => {
                self.notes.warning(
                    "deprecated-field",
                    &simple,
                    "LEAST_CONN is the old name of LEAST_REQUEST: write that",
                );
                Algorithm::LeastRequest
            }
            (Some("ROUND_ROBIN"), None) => Algorithm::RoundRobin,
            (Some("RANDOM"), None) => Algorithm::Random,
            (Some("PASSTHROUGH"), None) => Algorithm::Passthrough,
            (Some(other), None) => {
                let what = format!("`{other}` is not known: LEAST_REQUEST, ROUND_ROBIN, RANDOM or PASSTHROUGH");
                self.notes.invalid("invalid-value", &simple, what);
                Algorithm::default()
            }
        }
    }

    fn warmup(&mut self, raw: &raw::LoadBalancer, path: &Path) -> Option<Warmup> {
        let old = path.key("warmupDurationSecs");
        if let Some(text) = &raw.warmup_duration_secs {
            let what = match raw.warmup {
                None => "is deprecated: write `warmup: {duration: ...}`",
                Some(_) => "is deprecated, and ignored beside `warmup`: remove it",
            };
            self.notes.warning("deprecated-field", &old, what);
            if raw.warmup.is_none() {
                let duration = quantity::duration(Some(text), &old, self.notes)?;
                return Some(Warmup { duration, minimum_percent: 10.0, aggression: 1.0 });
            }
        }
        let (raw, path) = (raw.warmup.as_ref()?, path.key("warmup"));
        if raw.duration.is_none() {
            self.notes.error("missing-field", &path, "`duration` is missing: say how long it takes");
        }
        let least = raw.minimum_percent.unwrap_or(10.0);
        let minimum_percent = quantity::percent(least, &path.key("minimumPercent"), self.notes);
        let aggression = raw.aggression.unwrap_or(1.0);
        if !(1.0..=1e6).contains(&aggression) {
            let what = format!("{aggression} is out of range: 1 is a straight line, more is faster at first");
            self.notes.invalid("out-of-range", &path.key("aggression"), what);
        }
        let duration = quantity::duration(raw.duration.as_ref(), &path.key("duration"), self.notes)?;
        Some(Warmup { duration, minimum_percent: minimum_percent?, aggression })
    }
}
