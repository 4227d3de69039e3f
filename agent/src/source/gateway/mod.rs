//! The Gateway API's kinds: routes with a Service as parent, ReferenceGrant and BackendTLSPolicy.
//!
//! What the API server would refuse (a typo, two filters that exclude each other) refuses the object, and what was last
//! good stays. What it takes and cannot be done here fails for the requests that it concerns, with 500, and is noted.

mod backend_tls;
mod backends;
mod cors;
mod filters;
mod grant;
mod matches;
mod parents;
mod raw;
mod rules;
mod timing;

pub use backend_tls::read as backend_tls_policy;
pub use grant::read as reference_grant;

use super::Scope;
use super::decode::{Decoded, Strictness, decode, known};
use super::item::{Meaning, Raw};
use super::notes::Notes;
use super::path::Path;
use super::schema::{GRPC_ROUTE, HTTP_ROUTE, Schema, TCP_ROUTE, TLS_ROUTE};
use crate::model::gateway_route::{Age, ParentTarget, RouteRules};
use crate::model::{GatewayRoute, Object, RouteId, RouteKind};
use crate::vocab::Namespace;
use serde::de::DeserializeOwned;

/// What every part of one object is read with.
struct Reading<'a, 'n> {
    kind: RouteKind,
    namespace: &'a Namespace,
    cluster_domain: &'a str,
    notes: &'a mut Notes<'n>,
    /// How many errors are no reason to refuse the object.
    soft: usize,
}

/// Reads a route of this kind. One whose parents are all gateways means nothing in the mesh.
pub fn route(kind: RouteKind, scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    match kind {
        RouteKind::Http => read(kind, (scope, raw, &HTTP_ROUTE), notes, |reading, spec: &raw::Spec<_>, path| {
            reading.hostnames(&spec.hostnames, path);
            RouteRules::Requests(reading.http_rules(spec.rules.as_deref(), path))
        }),
        RouteKind::Grpc => read(kind, (scope, raw, &GRPC_ROUTE), notes, |reading, spec: &raw::Spec<_>, path| {
            reading.hostnames(&spec.hostnames, path);
            RouteRules::Requests(reading.grpc_rules(spec.rules.as_deref(), path))
        }),
        RouteKind::Tls => read(kind, (scope, raw, &TLS_ROUTE), notes, |reading, spec: &raw::Spec<_>, path| {
            RouteRules::Tls(reading.tls_rules(spec.rules.as_deref(), &spec.hostnames, path))
        }),
        RouteKind::Tcp => read(kind, (scope, raw, &TCP_ROUTE), notes, |reading, spec: &raw::Spec<_>, path| {
            RouteRules::Tcp(reading.tcp_rules(spec.rules.as_deref(), path))
        }),
    }
}

fn read<R: DeserializeOwned + Default>(
    kind: RouteKind,
    (scope, raw, schema): (&Scope<'_>, &Raw<'_>, &'static Schema),
    notes: &mut Notes<'_>,
    rules: impl Fn(&mut Reading<'_, '_>, &raw::Spec<R>, &Path) -> RouteRules,
) -> Option<Meaning> {
    let (decoded, path) = spec::<raw::Spec<R>>(raw, schema, notes)?;
    let Decoded { value: spec, unsupported } = decoded;
    let before = notes.errors();
    let (namespace, cluster_domain) = (&raw.id.namespace, scope.cluster_domain);
    let mut reading = Reading { kind, namespace, cluster_domain, notes, soft: 0 };
    reading.unsupported(&unsupported, &path);
    let parents = reading.parents(&spec.parent_refs, &path);
    let rules = rules(&mut reading, &spec, &path);
    if reading.notes.errors() > before + reading.soft {
        return None;
    }
    if parents.iter().all(|parent| parent.target == ParentTarget::Gateway) {
        let what =
            "is for gateways, which are not supported yet: it has no effect in the mesh; name a Service to have one";
        if !parents.is_empty() {
            notes.warning("gateway-route", &path.key("parentRefs"), what);
        }
        return Some(Meaning::Nothing);
    }
    let id = RouteId { kind, id: raw.id.clone() };
    let (origin, age) = (raw.origin(notes), age(raw));
    Some(Meaning::object(Object::GatewayRoute(GatewayRoute { id, origin, age, parents, rules })))
}

/// The `spec` of an object, of which every field is known.
fn spec<T: DeserializeOwned>(
    raw: &Raw<'_>,
    schema: &'static Schema,
    notes: &mut Notes<'_>,
) -> Option<(Decoded<T>, Path)> {
    let (value, path) = raw.part("spec");
    if !known(schema, &value, &path, notes) {
        return None;
    }
    decode::<T>(&value, &path, Strictness::Strict(schema), notes).map(|decoded| (decoded, path))
}

fn age(raw: &Raw<'_>) -> Age {
    let created = raw.meta.creation_timestamp.as_deref();
    Age { created: created.and_then(|text| humantime::parse_rfc3339(text).ok()), generation: raw.meta.generation }
}

impl Reading<'_, '_> {
    /// Fields that the API has and that have no effect here.
    fn unsupported(&mut self, paths: &[Path], base: &Path) {
        for path in paths {
            let what = match path.last_key() {
                "sessionPersistence" => {
                    "is not supported and is ignored; the rest of the rule is in force; use a DestinationRule with \
                     consistentHash.httpCookie"
                }
                "useDefaultGateways" => "is for gateways and has no effect in the mesh",
                _ => "is not supported yet and is ignored; the rest of the rule is in force",
            };
            self.notes.warning("unsupported-field", &base.join(path), what);
        }
    }

    /// The specification leaves these without a meaning in a mesh: the parent is the host.
    fn hostnames(&mut self, hostnames: &[String], spec: &Path) {
        if !hostnames.is_empty() {
            let what = "has no effect in the mesh, where the parent Service is the host: match on the header `Host` \
                        instead";
            self.notes.warning("ignored-field", &spec.key("hostnames"), what);
        }
    }

    fn at_most(&mut self, found: usize, most: usize, path: &Path) {
        if found > most {
            self.notes.error("too-many", path, format!("there are {found} of them, and at most {most} are allowed"));
        }
    }

    /// What becomes of the traffic of a rule that leads nowhere.
    fn consequence(&self) -> &'static str {
        match self.kind {
            RouteKind::Http => "its requests get 500",
            RouteKind::Grpc => "its requests get UNAVAILABLE",
            RouteKind::Tls | RouteKind::Tcp => "its connections are refused",
        }
    }
}
