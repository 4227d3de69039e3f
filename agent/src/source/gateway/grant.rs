//! ReferenceGrant: which routes of other namespaces may send traffic here.

use super::raw::Grant;
use super::{parents, spec};
use crate::model::{Object, ReferenceGrant, RouteKind};
use crate::source::item::{Meaning, Raw};
use crate::source::name;
use crate::source::notes::Notes;
use crate::source::schema::REFERENCE_GRANT;

const KINDS: [RouteKind; 4] = [RouteKind::Grpc, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp];

/// Reads a ReferenceGrant. What it says of other kinds than routes and Services does not concern the mesh.
pub fn read(raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (grant, path) = spec::<Grant>(raw, &REFERENCE_GRANT, notes)?;
    let before = notes.errors();
    for (key, empty) in [("from", grant.value.from.is_empty()), ("to", grant.value.to.is_empty())] {
        if empty {
            notes.error("missing-field", &path, format!("`{key}` is missing: a grant without it grants nothing"));
        }
    }
    let mut from = Vec::new();
    for (at, one) in grant.value.from.iter().enumerate() {
        let path = path.key("from").index(at);
        if !name::is_label(&one.namespace) {
            let what = format!("`{}` is not a namespace: a-z, 0-9 and `-`; there is no wildcard", one.namespace);
            notes.invalid("invalid-name", &path.key("namespace"), what);
        }
        let kind = KINDS.into_iter().find(|kind| one.group == parents::GROUP && one.kind == kind.as_str());
        from.extend(kind.map(|kind| (kind, one.namespace.as_str().into())));
    }
    let services = grant.value.to.iter().filter(|to| matches!(to.group.as_str(), "" | "core") && to.kind == "Service");
    let to: Vec<_> = services.map(|to| to.name.as_deref().filter(|name| !name.is_empty()).map(Into::into)).collect();
    if notes.errors() > before {
        return None;
    }
    if from.is_empty() || to.is_empty() {
        return Some(Meaning::Nothing);
    }
    let (id, origin) = (raw.id.clone(), raw.origin(notes));
    Some(Meaning::object(Object::ReferenceGrant(ReferenceGrant { id, origin, from, to })))
}
