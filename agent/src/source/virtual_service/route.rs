//! Weighted destinations.

use super::Reading;
use super::raw::{Destination as RawDestination, HttpRoute, Route};
use crate::model::{Destination, WeightedDestination};
use crate::source::name;
use crate::source::path::Path;
use serde_json::Value;

/// Which rule is read.
#[derive(Clone, Copy)]
pub struct Rule<'a> {
    /// `http`, `tcp` or `tls`.
    pub list: &'static str,
    /// Its place in the list.
    pub index: usize,
    /// Its path.
    pub path: &'a Path,
}

impl Reading<'_, '_> {
    /// The destinations of a rule for connections. Weights that cannot be used break the rule.
    pub fn route(&mut self, raw: &[Route], rule: Rule<'_>) -> Vec<WeightedDestination> {
        let all: Vec<_> = raw.iter().map(|entry| (&entry.destination, entry.weight.as_ref())).collect();
        let route = self.weighted(&all, rule);
        route.into_iter().flatten().collect()
    }

    /// The destinations of a rule for requests.
    pub fn http_route(&mut self, raw: &[HttpRoute], rule: Rule<'_>) -> Vec<WeightedDestination> {
        let all: Vec<_> = raw.iter().map(|entry| (&entry.destination, entry.weight.as_ref())).collect();
        let mut route = self.weighted(&all, rule);
        let path = rule.path.key("route");
        for (at, (entry, raw)) in route.iter_mut().zip(raw).enumerate() {
            let filters = self.header_filters(&raw.headers, &path.index(at).key("headers"), rule);
            if let Some(entry) = entry {
                entry.filters = filters;
            }
        }
        route.into_iter().flatten().collect()
    }

    /// One for each that is written, none for those that are wrong.
    fn weighted(
        &mut self,
        raw: &[(&RawDestination, Option<&Value>)],
        rule: Rule<'_>,
    ) -> Vec<Option<WeightedDestination>> {
        let path = rule.path.key("route");
        let mut route = Vec::with_capacity(raw.len());
        for (at, (destination, weight)) in raw.iter().enumerate() {
            let path = path.index(at);
            let weight = self.weight(*weight, &path.key("weight"), rule, raw.len());
            let destination = self.destination(destination, &path.key("destination"));
            route.push(destination.map(|destination| WeightedDestination::new(destination, weight)));
        }
        let read: Vec<_> = route.iter().flatten().collect();
        if read.len() > 1 && read.len() == raw.len() && self.broken.reason(rule.list, rule.index).is_none() {
            self.sum(&read, &path, rule);
        }
        route
    }

    /// Where traffic, or a copy of it, goes.
    pub fn destination(&mut self, raw: &RawDestination, path: &Path) -> Option<Destination> {
        let port = raw.port.as_ref().map(|port| name::port(port.number));
        if let Some(Err(what)) = &port {
            self.notes.invalid("invalid-port", &path.key("port").key("number"), what);
        }
        match name::destination_host(&raw.host, self.lookup) {
            Err(what) => {
                self.notes.invalid("invalid-host", &path.key("host"), what);
                None
            }
            Ok(host) => Some(Destination {
                host,
                subset: (!raw.subset.is_empty()).then(|| raw.subset.as_str().into()),
                port: port.and_then(Result::ok),
                origin: self.notes.origin(path),
            }),
        }
    }

    /// The weight of one of `of` destinations; one that is alone gets everything, whatever it says.
    fn weight(&mut self, raw: Option<&Value>, path: &Path, rule: Rule<'_>, of: usize) -> u32 {
        let Some(value) = raw else {
            return u32::from(of == 1);
        };
        match value.as_u64().and_then(|weight| i32::try_from(weight).ok()) {
            Some(_) if of == 1 => 1,
            Some(weight) => weight.unsigned_abs(),
            None => {
                let what = format!("{value} is not a weight: it has to be an integer of 0 or more");
                self.break_rule("invalid-weight", path, rule, &what);
                0
            }
        }
    }

    fn sum(&mut self, route: &[&WeightedDestination], path: &Path, rule: Rule<'_>) {
        let total: u64 = route.iter().map(|entry| u64::from(entry.weight)).sum();
        if total == 0 {
            let what = "all weights are 0: give the destinations that should get traffic a weight";
            return self.break_rule("invalid-weight", path, rule, what);
        }
        if total != 100 {
            let shares: Vec<String> = route.iter().map(|entry| share(entry, total)).collect();
            let what =
                format!("the weights add up to {total}, not 100, and count in proportion: {}", shares.join(", "));
            self.notes.warning("weights-not-100", path, what);
        }
    }

    /// Notes an error that leaves the other rules in force.
    pub fn break_rule(&mut self, code: &'static str, path: &Path, rule: Rule<'_>, what: &str) {
        let effect = match rule.list {
            "http" => "until then requests of this rule get 500",
            _ => "until then connections of this rule are refused",
        };
        self.notes.error(code, path, format!("{what}; {effect}"));
        self.broken.add(rule.list, rule.index, what.to_owned());
    }
}

#[allow(clippy::cast_precision_loss)] // A percentage for people.
fn share(entry: &WeightedDestination, total: u64) -> String {
    let percent = f64::from(entry.weight) * 100.0 / total as f64;
    let percent = format!("{percent:.1}");
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    match &entry.destination.subset {
        Some(subset) => format!("{} subset {subset} gets {percent}%", entry.destination.host),
        None => format!("{} gets {percent}%", entry.destination.host),
    }
}
