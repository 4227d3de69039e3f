//! DestinationRule: the subsets of a host, and how its endpoints are chosen, limited and judged.
//!
//! What Istio would refuse refuses the object, and what was last good stays. What is not executed is said, and the
//! rest is in force.

mod hash;
mod load_balancer;
mod locality;
mod outlier;
mod policy;
mod pool;
mod raw;
mod tls;
mod unsupported;

use super::Scope;
use super::decode::{Decoded, Strictness, decode};
use super::export::export_to;
use super::item::{Meaning, Raw};
use super::name;
use super::notes::Notes;
use super::path::Path;
use super::schema::DESTINATION_RULE;
use crate::model::{DestinationRule, Labels, Object, Subset, TrafficPolicy};
use crate::vocab::{Hostname, Namespace};

/// What every part of one DestinationRule is read with.
struct Reading<'a, 'n> {
    namespace: &'a Namespace,
    notes: &'a mut Notes<'n>,
}

/// Reads a DestinationRule.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (value, path) = raw.part("spec");
    let Decoded { value: spec, unsupported } =
        decode::<raw::Spec>(&value, &path, Strictness::Strict(&DESTINATION_RULE), notes)?;
    let before = notes.errors();
    let host = host(scope, raw, &spec.host, (&path, &mut *notes));
    let mut reading = Reading { namespace: &raw.id.namespace, notes };
    let policy = spec.traffic_policy.as_ref();
    let policy = policy.map(|raw| reading.policy(raw, &path.key("trafficPolicy"), None)).unwrap_or_default();
    let subsets = reading.subsets(&spec.subsets, &path.key("subsets"), &policy);
    let workload_selector = reading.selector(spec.workload_selector, &path.key("workloadSelector"));
    let export_to = export_to(&spec.export_to, &path.key("exportTo"), raw, notes);
    if notes.errors() > before {
        return None;
    }
    // Only now: these errors leave the rest in force.
    unsupported::note(&unsupported, (&value, &path), notes);
    let Some(export_to) = export_to else {
        return Some(Meaning::Nothing);
    };
    let (id, origin, host) = (raw.id.clone(), raw.origin(notes), host?);
    let rule = DestinationRule { id, origin, host, export_to, workload_selector, policy, subsets };
    Some(Meaning::object(Object::DestinationRule(rule)))
}

fn host(scope: &Scope<'_>, raw: &Raw<'_>, text: &str, (path, notes): (&Path, &mut Notes<'_>)) -> Option<Hostname> {
    match name::host(text, scope.lookup(raw)) {
        Ok(host) => Some(host),
        Err(_) if text.is_empty() => {
            notes.error("missing-field", path, "`host` is missing: name the Service that the rule is for");
            None
        }
        Err(what) => {
            notes.invalid("invalid-host", &path.key("host"), what);
            None
        }
    }
}

impl Reading<'_, '_> {
    fn subsets(&mut self, raw: &[raw::Subset], path: &Path, whole: &TrafficPolicy) -> Vec<Subset> {
        let mut subsets: Vec<Subset> = Vec::with_capacity(raw.len());
        for (at, subset) in raw.iter().enumerate() {
            let path = path.index(at);
            if subset.name.is_empty() {
                let what = "`name` is missing: rules name a subset to send traffic to it";
                self.notes.error("missing-field", &path, what);
                continue;
            }
            if !name::is_label(&subset.name) {
                let what = format!("`{}` is not a subset's name: a-z, 0-9 and `-`, at most 63", subset.name);
                self.notes.invalid("invalid-name", &path.key("name"), what);
            }
            if subsets.iter().any(|other| other.name.as_str() == subset.name) {
                let what = format!("the subset `{}` is here twice: rename or remove one", subset.name);
                self.notes.invalid("duplicate-subset", &path.key("name"), what);
                continue;
            }
            let policy = subset.traffic_policy.as_ref();
            let policy = policy.map(|raw| self.policy(raw, &path.key("trafficPolicy"), Some(whole)));
            subsets.push(Subset {
                name: subset.name.as_str().into(),
                labels: subset.labels.clone(),
                policy: policy.unwrap_or_default(),
            });
        }
        subsets
    }

    fn selector(&mut self, raw: Option<raw::Selector>, path: &Path) -> Labels {
        let Some(selector) = raw else { return Labels::default() };
        if selector.match_labels.is_empty() {
            self.notes.warning(
                "no-effect",
                path,
                "selects nothing in particular: the rule is for clients of every pod",
            );
        }
        for (key, value) in &selector.match_labels {
            if key.is_empty() || key.contains('*') || value.contains('*') {
                let what = "is not a label: keys are not empty, and there are no wildcards";
                self.notes.error("invalid-value", &path.key("matchLabels").key(key), what);
            }
        }
        selector.match_labels
    }
}
