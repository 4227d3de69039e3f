//! Which workloads a policy is for.

use super::raw::{Selector, TargetRef};
use crate::model::Labels;
use crate::model::authorization_policy::Selection;
use crate::source::Scope;
use crate::source::item::Raw;
use crate::source::name;
use crate::source::notes::Notes;
use crate::source::path::Path;
use crate::vocab::Hostname;

/// A policy's `selector`, `targetRef` and `targetRefs`.
pub type Aimed<'a> = (Option<&'a Selector>, Option<&'a TargetRef>, &'a [TargetRef]);

/// What the fields say; `None` with an error.
pub fn read(
    source: &Scope<'_>,
    raw: &Raw<'_>,
    ((selector, target_ref, target_refs), path): (Aimed<'_>, &Path),
    notes: &mut Notes<'_>,
) -> Option<Selection> {
    let before = notes.errors();
    let labels = selector.cloned().unwrap_or_default().match_labels;
    for key in labels.keys().filter(|key| key.is_empty() || key.contains('*')) {
        let what = format!("`{key}` is not a label: patterns are not possible");
        notes.error("invalid-value", &path.key("selector").key("matchLabels"), what);
    }
    let one = target_ref.iter().map(|one| (*one, path.key("targetRef")));
    let several = (0..).zip(target_refs).map(|(at, one)| (one, path.key("targetRefs").index(at)));
    let targets: Vec<_> = one.chain(several).collect();
    if targets.is_empty() {
        let all = if labels.is_empty() { Selection::All } else { Selection::Labels(labels) };
        return (notes.errors() == before).then_some(all);
    }
    if selector.is_some() {
        notes.error("invalid-value", &path.key("selector"), "a policy has a selector or targetRefs, not both");
    }
    let hosts: Vec<_> = targets.iter().filter_map(|(one, path)| target(source, raw, (one, path), notes)).collect();
    let found = if hosts.is_empty() { Selection::Nothing } else { Selection::Services(hosts) };
    (notes.errors() == before).then_some(found)
}

fn target(
    source: &Scope<'_>,
    raw: &Raw<'_>,
    (to, path): (&TargetRef, &Path),
    notes: &mut Notes<'_>,
) -> Option<Hostname> {
    let own = raw.id.namespace.as_str();
    if to.namespace.as_deref().is_some_and(|namespace| !namespace.is_empty() && namespace != own) {
        notes.error("invalid-value", &path.key("namespace"), "a policy is for its own namespace only: leave it out");
        return None;
    }
    match (to.group.as_str(), to.kind.as_str()) {
        ("" | "core", "Service") if name::is_label(&to.name) => {
            let found = name::destination_host(&to.name, source.lookup(raw));
            found.map_err(|what| notes.error("invalid-name", &path.key("name"), what)).ok()
        }
        ("" | "core", "Service") => {
            let what = format!("`{}` is not a Service's name: a-z, 0-9 and `-`", to.name);
            notes.invalid("invalid-name", &path.key("name"), what);
            None
        }
        ("gateway.networking.k8s.io", "Gateway" | "GatewayClass") | ("networking.istio.io", "ServiceEntry") => {
            let what = format!("has no effect: a {} is not supported yet", to.kind);
            notes.warning("unsupported-target", &path.key("kind"), what);
            None
        }
        (group, kind) => {
            let field = if kind == "Service" { "group" } else { "kind" };
            let what = format!("{kind} of `{group}` cannot be a target: it is a Service, or use a selector");
            notes.error("unsupported-target", &path.key(field), what);
            None
        }
    }
}

/// What can be told of the selection of a policy that cannot be read; `None` where that is not sure.
/// `known` are the fields of the kind.
pub fn salvaged(source: &Scope<'_>, raw: &Raw<'_>, known: &[&str]) -> Option<Selection> {
    let spec = match raw.value.get("spec") {
        None => return Some(Selection::All),
        Some(spec) => spec.as_object()?,
    };
    if !spec.keys().all(|key| known.contains(&&**key)) {
        return None;
    }
    if let Some(selector) = spec.get("selector") {
        let only = selector.as_object()?.keys().all(|key| key == "matchLabels");
        let labels: Labels = serde_json::from_value(selector.get("matchLabels")?.clone()).ok()?;
        return (only && !labels.is_empty()).then_some(Selection::Labels(labels));
    }
    let one = spec.get("targetRef").into_iter();
    let several = spec.get("targetRefs").map(|refs| refs.as_array().map(Vec::as_slice).unwrap_or_default());
    let refs: Vec<_> = one.chain(several.into_iter().flatten()).collect();
    if !spec.contains_key("targetRef") && !spec.contains_key("targetRefs") {
        return Some(Selection::All);
    }
    let host = |target: &serde_json::Value| {
        let target = target.as_object().filter(|target| target.get("kind").is_some_and(|kind| kind == "Service"))?;
        name::destination_host(target.get("name")?.as_str()?, source.lookup(raw)).ok()
    };
    let hosts: Option<Vec<_>> = refs.into_iter().map(host).collect();
    hosts.filter(|hosts| !hosts.is_empty()).map(Selection::Services)
}
