//! Sidecar: its `outboundTrafficPolicy`. Everything else of it is for a proxy in the pod, or is not supported.

use super::Scope as Source;
use super::decode::{Strictness, decode, raw};
use super::item::{Meaning, Raw};
use super::notes::Notes;
use super::schema::SIDECAR;
use crate::model::{Labels, Object, OutboundMode, Scope, Sidecar};

raw!(Spec {
    workload_selector: Option<Selector>,
    outbound_traffic_policy: Option<Outbound>,
});
raw!(Selector { labels: Labels });
raw!(Outbound { mode: Option<String> });

/// Reads a Sidecar.
pub fn read(source: &Source<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (value, path) = raw.part("spec");
    let decoded = decode::<Spec>(&value, &path, Strictness::Strict(&SIDECAR), notes)?;
    for below in &decoded.unsupported {
        let what = "has no effect: of a Sidecar, only outboundTrafficPolicy.mode is supported";
        notes.warning("unsupported-field", &path.join(below), what);
    }
    let spec = decoded.value;
    let mode = match spec.outbound_traffic_policy {
        None => None,
        Some(outbound) => Some(match outbound.mode.as_deref() {
            // As Istio: its first value is what an empty policy means.
            None | Some("REGISTRY_ONLY") => OutboundMode::RegistryOnly,
            Some("ALLOW_ANY") => OutboundMode::AllowAny,
            Some(other) => {
                let what = format!("`{other}` is not a mode: it is ALLOW_ANY or REGISTRY_ONLY");
                notes.invalid("invalid-value", &path.key("outboundTrafficPolicy").key("mode"), what);
                return None;
            }
        }),
    };
    let labels = spec.workload_selector.map(|selector| selector.labels).unwrap_or_default();
    let scope = match (labels.is_empty(), raw.id.namespace.as_str() == source.root_namespace) {
        (false, _) => Scope::Workload(labels),
        (true, true) => Scope::Mesh,
        (true, false) => Scope::Namespace,
    };
    let (id, origin) = (raw.id.clone(), raw.origin(notes));
    Some(Meaning::object(Object::Sidecar(Sidecar { id, origin, scope, mode })))
}
