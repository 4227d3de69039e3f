//! `parentRefs`: what a route is attached to. In the mesh that is a Service.

use super::Reading;
use super::raw::ParentRef;
use crate::model::gateway_route::{Parent, ParentReference, ParentTarget};
use crate::model::workload::service_host;
use crate::source::name;
use crate::source::path::Path;

/// The Gateway API's own group.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Kinds that are gateways or parts of them.
const GATEWAYS: &[&str] = &["Gateway", "ListenerSet", "XListenerSet"];

impl Reading<'_, '_> {
    /// The parents, in order.
    pub fn parents(&mut self, raw: &[ParentRef], spec: &Path) -> Vec<Parent> {
        let path = spec.key("parentRefs");
        self.at_most(raw.len(), 32, &path);
        if raw.is_empty() {
            let what = "`parentRefs` is missing: the route is attached to nothing and has no effect; name a Service";
            self.notes.warning("missing-field", spec, what);
        }
        let mut parents: Vec<Parent> = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            let parent = self.parent(raw, &path);
            if parents.iter().any(|other| !distinct(&other.reference, &parent.reference)) {
                let what = "another one refers to the same parent: give each of them its own sectionName or port";
                self.notes.error("duplicate-parent", &path, what);
            }
            parents.push(parent);
        }
        parents
    }

    fn parent(&mut self, raw: &ParentRef, path: &Path) -> Parent {
        let group = raw.group.as_deref().unwrap_or(GROUP);
        let kind = raw.kind.as_deref().unwrap_or("Gateway");
        let namespace = raw.namespace.as_deref().filter(|text| !text.is_empty());
        self.reference_name(&raw.name, namespace, path);
        let target = match (group, kind) {
            ("" | "core", "Service") => self.service(raw, namespace),
            (GROUP, "Service") => {
                let what = "`group: \"\"` is missing: without it the group is that of Gateway; taken as a Service";
                self.notes.warning("missing-group", path, what);
                self.service(raw, namespace)
            }
            (GROUP, kind) if GATEWAYS.contains(&kind) => ParentTarget::Gateway,
            _ => {
                let what = format!(
                    "routes cannot be attached to a {kind}{}: they are not in force for it; name a Service (group: \
                     \"\", kind: Service)",
                    if group.is_empty() { String::new() } else { format!(" of {group}") }
                );
                self.notes.error("unsupported-parent", path, what);
                self.soft += 1;
                ParentTarget::Unsupported
            }
        };
        let reference = ParentReference {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: raw.name.as_str().into(),
            section_name: raw.section_name.as_deref().filter(|text| !text.is_empty()).map(Into::into),
            port: self.port(raw.port, &path.key("port")),
        };
        Parent { target, reference, origin: self.notes.origin(path) }
    }

    fn service(&self, raw: &ParentRef, namespace: Option<&str>) -> ParentTarget {
        let namespace = namespace.unwrap_or(self.namespace.as_str());
        ParentTarget::Service(service_host(&raw.name, namespace, self.cluster_domain))
    }

    /// A reference's name and namespace.
    pub fn reference_name(&mut self, name: &str, namespace: Option<&str>, path: &Path) {
        if name.is_empty() {
            self.notes.error("missing-field", path, "`name` is missing");
        } else if !name::is_subdomain(name) {
            self.notes.invalid("invalid-name", &path.key("name"), format!("`{name}` is not a name: a-z, 0-9 and `-`"));
        }
        if let Some(namespace) = namespace.filter(|namespace| !name::is_label(namespace)) {
            let what = format!("`{namespace}` is not a namespace: a-z, 0-9 and `-`, at most 63");
            self.notes.invalid("invalid-name", &path.key("namespace"), what);
        }
    }

    /// A port, where one is given.
    pub fn port(&mut self, number: Option<i64>, path: &Path) -> Option<u16> {
        name::port(number?).map_err(|what| self.notes.invalid("invalid-port", path, what)).ok()
    }
}

/// Whether two references may stand in one route: other parents, or the same fields of one with other values.
fn distinct(one: &ParentReference, other: &ParentReference) -> bool {
    let whose = |reference: &ParentReference| {
        let ParentReference { group, kind, namespace, name, .. } = reference;
        (group.clone(), kind.clone(), namespace.clone(), name.clone())
    };
    let differ = (one.section_name != other.section_name) || (one.port != other.port);
    let alike =
        one.section_name.is_some() == other.section_name.is_some() && one.port.is_some() == other.port.is_some();
    whose(one) != whose(other) || (differ && alike)
}
