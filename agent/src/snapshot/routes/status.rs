//! What the `status` of routes and policies says. Pure: it is written to a cluster by whoever watches one.

use super::references::Problem;
use crate::model::gateway_route::{Parent, ParentReference, ParentTarget};
use crate::model::{GatewayRoute, ObjectId, RouteId};
use crate::vocab::Hostname;
use imbl::HashMap;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who says it: the name under which this mesh's part of a status stands.
pub const CONTROLLER: &str = "underpass.io/mesh-controller";

/// A condition; the time of its last transition is known to who writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Such as `Accepted`.
    pub r#type: &'static str,
    /// `True` or `False`.
    pub status: &'static str,
    /// One of the specification's words.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The generation of the object that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What is said of one object at one of its parents (routes) or targets (policies).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The object.
    pub object: Object,
    /// Which of its references.
    pub index: usize,
    /// The reference.
    pub reference: ParentReference,
    /// What is said.
    pub conditions: Vec<Condition>,
}

/// An object that has a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A route.
    Route(RouteId),
    /// A BackendTLSPolicy.
    Policy(ObjectId),
}

/// What a status was found at, and is replaced with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::snapshot) enum Place {
    /// The routes of a Service.
    Service(Hostname),
    /// The parents of a route that are no Services.
    Route(RouteId),
    /// A policy.
    Policy(ObjectId),
}

/// All that is said. A clone shares everything with the original.
#[derive(Clone, Debug, Default)]
pub struct Statuses(HashMap<Place, Arc<[Standing]>>);

impl Statuses {
    /// Replaces what was said at a place.
    pub(in crate::snapshot) fn set(&mut self, place: Place, said: Vec<Standing>) {
        if said.is_empty() {
            self.0.remove(&place);
        } else {
            self.0.insert(place, said.into());
        }
    }

    /// The status of every object, in order, with its references in theirs.
    pub fn by_object(&self) -> BTreeMap<&Object, Vec<&Standing>> {
        let mut found: BTreeMap<&Object, Vec<&Standing>> = BTreeMap::new();
        for standing in self.0.values().flat_map(|said| said.iter()) {
            found.entry(&standing.object).or_default().push(standing);
        }
        for said in found.values_mut() {
            said.sort_by_key(|standing| standing.index);
        }
        found
    }

    /// As it is written to a cluster.
    pub fn dump(&self) -> Value {
        self.by_object().into_iter().map(|(object, said)| shown(object, &said)).collect()
    }
}

fn shown(object: &Object, said: &[&Standing]) -> Value {
    let (kind, id, list, reference) = match object {
        Object::Route(route) => (route.kind.as_str(), &route.id, "parents", "parentRef"),
        Object::Policy(id) => ("BackendTLSPolicy", id, "ancestors", "ancestorRef"),
    };
    let one = |standing: &&Standing| json!({ reference: standing.reference, "controllerName": CONTROLLER, "conditions": standing.conditions });
    json!({
        "kind": kind,
        "namespace": id.namespace,
        "name": id.name,
        "status": { list: said.iter().map(one).collect::<Vec<_>>() },
    })
}

/// Whether a route is in force at a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// At this many ports.
    Accepted(usize),
    /// Nowhere: the reason and what to say.
    Rejected(&'static str, String),
}

/// The conditions of a route at one parent.
pub(super) fn route(acceptance: &Acceptance, problems: &[Problem], generation: Option<i64>) -> Vec<Condition> {
    let accepted = match acceptance {
        Acceptance::Accepted(1) => condition("Accepted", None, "in force at one port".to_owned(), generation),
        Acceptance::Accepted(ports) => condition("Accepted", None, format!("in force at {ports} ports"), generation),
        Acceptance::Rejected(reason, what) => condition("Accepted", Some(reason), what.clone(), generation),
    };
    let message: Vec<&str> = problems.iter().map(|problem| &*problem.what).collect();
    let resolved = match problems.first() {
        None => condition("ResolvedRefs", None, "every reference leads somewhere".to_owned(), generation),
        Some(first) => condition("ResolvedRefs", Some(first.reason), message.join("; "), generation),
    };
    vec![accepted, resolved]
}

/// A condition that holds, or does not for a reason.
pub(super) fn condition(
    r#type: &'static str,
    failed: Option<&'static str>,
    message: String,
    observed_generation: Option<i64>,
) -> Condition {
    let status = if failed.is_some() { "False" } else { "True" };
    Condition { r#type, status, reason: failed.unwrap_or(r#type), message, observed_generation }
}

/// What is said of the parents of a route to which none can be attached here. Gateways are others' business.
pub(in crate::snapshot) fn unsupported(route: &GatewayRoute) -> Vec<Standing> {
    let parents = route.parents.iter().enumerate();
    let unsupported = parents.filter(|(_, parent)| parent.target == ParentTarget::Unsupported);
    let said = |(index, parent): (usize, &Parent)| {
        let what = format!("routes cannot be attached to a {}", parent.reference.kind);
        let acceptance = Acceptance::Rejected("NoMatchingParent", what);
        let conditions = self::route(&acceptance, &[], route.age.generation);
        Standing { object: Object::Route(route.id.clone()), index, reference: parent.reference.clone(), conditions }
    };
    unsupported.map(said).collect()
}
