//! DestinationRule: the subsets of a host.

use super::Scope;
use super::decode::{Decoded, Strictness, decode, find};
use super::export::export_to;
use super::item::{Meaning, Raw};
use super::name;
use super::notes::Notes;
use super::path::Path;
use super::schema::DESTINATION_RULE;
use crate::model::{DestinationRule, Labels, Object, Subset, TrafficPolicy};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host: String,
    subsets: Vec<RawSubset>,
    export_to: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawSubset {
    name: String,
    labels: Labels,
}

/// Reads a DestinationRule.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (value, path) = raw.part("spec");
    let Decoded { value: spec, unsupported } =
        decode::<Spec>(&value, &path, Strictness::Strict(&DESTINATION_RULE), notes)?;
    let before = notes.errors();
    let host = match name::host(&spec.host, scope.lookup(raw)) {
        Ok(host) => Some(host),
        Err(_) if spec.host.is_empty() => {
            notes.error("missing-field", &path, "`host` is missing: name the Service that the rule is for");
            None
        }
        Err(what) => {
            notes.invalid("invalid-host", &path.key("host"), what);
            None
        }
    };
    let subsets = subsets(spec.subsets, &path.key("subsets"), notes);
    let export_to = export_to(&spec.export_to, &path.key("exportTo"), raw, notes);
    if notes.errors() > before {
        return None;
    }
    // Only now: these errors leave the subsets in force.
    unsupported_parts(&unsupported, &value, &path, notes);
    let export_to = match export_to {
        Some(namespaces) => namespaces,
        None => return Some(Meaning::Nothing),
    };
    let (id, origin) = (raw.id.clone(), raw.origin(notes));
    Some(Meaning::object(Object::DestinationRule(DestinationRule {
        id,
        origin,
        host: host?,
        export_to,
        workload_selector: Labels::default(),
        policy: TrafficPolicy::default(),
        subsets,
    })))
}

fn subsets(raw: Vec<RawSubset>, path: &Path, notes: &mut Notes<'_>) -> Vec<Subset> {
    let mut subsets: Vec<Subset> = Vec::with_capacity(raw.len());
    for (at, subset) in raw.into_iter().enumerate() {
        let path = path.index(at);
        if subset.name.is_empty() {
            notes.error("missing-field", &path, "`name` is missing: rules name a subset to send traffic to it");
            continue;
        }
        if subsets.iter().any(|other| other.name.as_str() == subset.name) {
            let what = format!("the subset `{}` is here twice: rename or remove one", subset.name);
            notes.invalid("duplicate-subset", &path.key("name"), what);
            continue;
        }
        subsets.push(Subset { name: subset.name.into(), labels: subset.labels, policy: TrafficPolicy::default() });
    }
    subsets
}

fn unsupported_parts(paths: &[Path], spec: &Value, base: &Path, notes: &mut Notes<'_>) {
    for path in paths {
        let value = find(spec, path).unwrap_or(&Value::Null);
        match path.last_key() {
            "trafficPolicy" => traffic_policy(value, &base.join(path), notes),
            "workloadSelector" => {
                let what = "is not supported yet: the rule holds for clients of every pod";
                notes.warning("unsupported-field", &base.join(path), what);
            }
            _ => notes.warning("unsupported-field", &base.join(path), "is not supported yet and is ignored"),
        }
    }
}

fn traffic_policy(policy: &Value, path: &Path, notes: &mut Notes<'_>) {
    for (key, value) in policy.as_object().into_iter().flatten() {
        let path = path.key(key);
        match key.as_str() {
            "tls" => tls(value, &path, notes),
            "portLevelSettings" => {
                let ports = value.as_array().into_iter().flatten().enumerate();
                ports.for_each(|(at, settings)| traffic_policy(settings, &path.index(at), notes));
            }
            "port" => {}
            _ => notes.warning("unsupported-field", &path, "is not supported yet and is ignored"),
        }
    }
}

/// Between workloads of the mesh the identity is always Istio's: `ISTIO_MUTUAL` asks for what happens anyway.
fn tls(tls: &Value, path: &Path, notes: &mut Notes<'_>) {
    let mode = tls.get("mode").and_then(Value::as_str).unwrap_or("DISABLE");
    if mode == "ISTIO_MUTUAL" {
        return;
    }
    let what = format!(
        "{mode} is not supported and is NOT in force: the mesh's own mTLS is used where the peer has it, and none \
         elsewhere; use ISTIO_MUTUAL or remove it"
    );
    notes.error("unsupported-field", &path.key("mode"), what);
}
