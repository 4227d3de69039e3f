//! `backendRefs`: where the traffic of a rule goes. A reference that cannot be used fails for its share only.

use super::Reading;
use super::filters::Scope;
use super::raw::BackendRef;
use crate::model::workload::service_host;
use crate::model::{Destination, WeightedDestination};
use crate::source::path::Path;
use std::sync::Arc;

/// The greatest weight of the schema.
const MAX_WEIGHT: i64 = 1_000_000;

/// The destinations of a rule.
pub struct Backends {
    /// In order.
    pub to: Vec<WeightedDestination>,
    /// Why none of them gets anything.
    pub broken: Option<Arc<str>>,
}

impl Reading<'_, '_> {
    /// The destinations of a rule; `scope` is what their filters are read with.
    pub fn backends(&mut self, raw: &[BackendRef], rule: &Path, scope: Scope) -> Backends {
        let path = rule.key("backendRefs");
        self.at_most(raw.len(), 16, &path);
        let mut to = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            let (destination, broken) = self.backend(raw, &path);
            let weight = self.weight(raw.weight, &path.key("weight"));
            let read = self.filters(&raw.filters, &path, Scope { rule: false, ..scope });
            let broken = broken.or(read.broken);
            let (filters, redirect) = (read.filters, read.redirect);
            to.push(WeightedDestination { filters, redirect, broken, ..WeightedDestination::new(destination, weight) });
        }
        let weightless = !to.is_empty() && to.iter().all(|one| one.weight == 0);
        if weightless {
            let what = format!("all weights are 0: {}", self.consequence());
            self.notes.warning("weights", &path, what);
        }
        Backends { to, broken: weightless.then(|| "all weights are 0".into()) }
    }

    /// A backend, and why it cannot be used.
    pub fn backend(&mut self, raw: &BackendRef, path: &Path) -> (Destination, Option<Arc<str>>) {
        let kind = raw.kind.as_deref().unwrap_or("Service");
        let namespace = raw.namespace.as_deref().filter(|text| !text.is_empty());
        self.reference_name(&raw.name, namespace, path);
        let port = self.port(raw.port, &path.key("port"));
        let service = matches!(raw.group.as_str(), "" | "core") && kind == "Service";
        if service && raw.port.is_none() {
            self.notes.error(
                "missing-field",
                path,
                "`port` is missing: name the Service's port that the traffic goes to",
            );
        }
        let namespace = namespace.unwrap_or(self.namespace.as_str());
        let host = service_host(&raw.name, namespace, self.cluster_domain);
        let broken = (!service).then(|| self.invalid_kind(raw, kind, path));
        (Destination { host, subset: None, port, origin: self.notes.origin(path) }, broken)
    }

    fn invalid_kind(&mut self, raw: &BackendRef, kind: &str, path: &Path) -> Arc<str> {
        let of = if raw.group.is_empty() { String::new() } else { format!(" of {}", raw.group) };
        let why = format!("{kind}{of} is not a kind that traffic can be sent to");
        let what = format!("{why}: use a Service; until then {}", self.consequence());
        self.notes.error("invalid-kind", path, what);
        self.soft += 1;
        why.into()
    }

    fn weight(&mut self, raw: Option<i64>, path: &Path) -> u32 {
        match u32::try_from(raw.unwrap_or(1)) {
            Ok(weight) if i64::from(weight) <= MAX_WEIGHT => weight,
            _ => {
                let what = format!("{} is not a weight: it has to be 0 to {MAX_WEIGHT}", raw.unwrap_or_default());
                self.notes.invalid("invalid-weight", path, what);
                1
            }
        }
    }
}
