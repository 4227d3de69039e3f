//! PeerAuthentication: whether plaintext is taken. One that cannot be read is taken as STRICT.

use super::Scope as Source;
use super::decode::{Strictness, decode};
use super::item::{Outcome, Raw};
use super::name;
use super::notes::Notes;
use super::path::Path;
use super::schema::PEER_AUTHENTICATION;
use crate::model::{Labels, MtlsMode, Object, ObjectId, Origin, PeerAuthentication, Scope};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Option<Selector>,
    mtls: Option<Mtls>,
    port_level_mtls: BTreeMap<String, Mtls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: Labels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mtls {
    mode: Option<String>,
}

/// Reads a PeerAuthentication; `readable` tells whether its metadata was in order.
pub fn read(source: &Source<'_>, raw: &Raw<'_>, readable: bool, notes: &mut Notes<'_>) -> Outcome {
    match understand(source, raw, notes).filter(|_| readable) {
        Some(policy) => Outcome::Ready(super::item::Meaning::object(Object::PeerAuthentication(policy))),
        None => {
            let selector = raw.value.pointer("/spec/selector/matchLabels");
            let labels = selector.and_then(|labels| serde_json::from_value::<Labels>(labels.clone()).ok());
            // A selector that is not there was read, and so was one of nothing but labels.
            let scope_read = selector_is_absent(raw.value) || labels.is_some();
            let scope = scope(source, &raw.id, labels.unwrap_or_default());
            let what = format!("taken as STRICT for {} until this is corrected", described(&scope, &raw.id));
            notes.error("policy-denies", &raw.path, what);
            let policy = Object::PeerAuthentication(denying(&raw.id, raw.origin(notes), scope));
            Outcome::Denies { policy: Box::new(policy), scope_read }
        }
    }
}

fn selector_is_absent(value: &Value) -> bool {
    value.get("spec").is_none_or(|spec| spec.as_object().is_some_and(|spec| !spec.contains_key("selector")))
}

/// What stands in for a policy that cannot be read: mTLS on every port.
pub fn denying(id: &ObjectId, origin: Origin, scope: Scope) -> PeerAuthentication {
    PeerAuthentication { id: id.clone(), origin, scope, mode: MtlsMode::Strict, ports: BTreeMap::new() }
}

/// Whom a policy of this place and these labels is for.
pub fn scope(source: &Source<'_>, id: &ObjectId, labels: Labels) -> Scope {
    match (labels.is_empty(), id.namespace.as_str() == source.root_namespace) {
        (false, _) => Scope::Workload(labels),
        (true, true) => Scope::Mesh,
        (true, false) => Scope::Namespace,
    }
}

fn described(scope: &Scope, id: &ObjectId) -> String {
    match scope {
        Scope::Mesh => "the whole mesh".to_owned(),
        Scope::Namespace => format!("the namespace {}", id.namespace),
        Scope::Workload(_) => format!("the selected pods of {}", id.namespace),
    }
}

fn understand(source: &Source<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<PeerAuthentication> {
    let (spec, path) = raw.part("spec");
    let spec: Spec = decode(&spec, &path, Strictness::Strict(&PEER_AUTHENTICATION), notes)?.value;
    let before = notes.errors();
    let mode = mode(spec.mtls.as_ref(), &path.key("mtls").key("mode"), notes);
    let ports_path = path.key("portLevelMtls");
    let mut ports = BTreeMap::new();
    for (text, mtls) in &spec.port_level_mtls {
        let path = ports_path.key(text);
        let Ok(port) = text.parse::<i64>().map_err(|_| ()).and_then(|n| name::port(n).map_err(|_| ())) else {
            notes.error("invalid-port", &path, format!("`{text}` is not a port: ports are 1 to 65535"));
            continue;
        };
        ports.insert(port, self::mode(Some(mtls), &path.key("mode"), notes));
    }
    if notes.errors() > before {
        return None;
    }
    let labels = spec.selector.unwrap_or_default().match_labels;
    if labels.is_empty() && !ports.is_empty() {
        let what = "ports count only together with a selector (so it is in Istio): they are ignored; add \
                    selector.matchLabels";
        notes.warning("port-level-without-selector", &ports_path, what);
        ports.clear();
    }
    let scope = scope(source, &raw.id, labels);
    Some(PeerAuthentication { id: raw.id.clone(), origin: raw.origin(notes), scope, mode, ports })
}

fn mode(mtls: Option<&Mtls>, path: &Path, notes: &mut Notes<'_>) -> MtlsMode {
    match mtls.and_then(|mtls| mtls.mode.as_deref()) {
        None | Some("UNSET") => MtlsMode::Unset,
        Some("DISABLE") => MtlsMode::Disable,
        Some("PERMISSIVE") => MtlsMode::Permissive,
        Some("STRICT") => MtlsMode::Strict,
        Some(other) => {
            let what = format!("`{other}` is not a mode: it is STRICT, PERMISSIVE, DISABLE or UNSET");
            notes.invalid("invalid-value", path, what);
            MtlsMode::Strict
        }
    }
}
