//! What Istio's kinds may say that is not executed: fields that are read into the model and wait for their executor,
//! and fields that stay without one. Who lands an executor takes its lines out of here.

use super::path::{Path, Step};
use serde_json::Value;

/// What becomes of an object that has such a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer would be another one without it: a rule of a VirtualService is broken. A DestinationRule stays in
    /// force without it, and that is an error.
    Breaks,
    /// It is left out, and the rest is in force.
    Ignored,
}

/// A field, as in the schemas' tables, with what becomes of it and what to say beyond "is not supported yet".
type Entry = (&'static str, Effect, &'static str);

/// Of VirtualService.
pub const VIRTUAL_SERVICE: &[Entry] = &[
    // Not in Istio either, or without a meaning here.
    ("http[].match[].statPrefix", Effect::Ignored, "metrics carry Istio's labels and have no prefix; remove it"),
    ("http[].fault.delay.exponentialDelay", Effect::Ignored, "no request is delayed (nor in Istio); use fixedDelay"),
    ("http[].fault.abort.http2Error", Effect::Breaks, "Istio refuses it as well; use httpStatus or grpcStatus"),
    (
        "tcp[].match[].sourceSubnet",
        Effect::Breaks,
        "Istio drops it in silence and takes every client; use sourceLabels or sourceNamespace",
    ),
];

/// Of DestinationRule; `*` is any of the places of a traffic policy.
pub const DESTINATION_RULE: &[Entry] = &[
    (
        "*.loadBalancer.zoneAwareLbSetting",
        Effect::Ignored,
        "endpoints of all zones are used; write localityLbSetting, or trafficDistribution on the Service",
    ),
    (
        "*.loadBalancer.backendUtilization",
        Effect::Ignored,
        "LEAST_REQUEST is used, which sees the load by what is under way; write `simple`",
    ),
    (
        "*.outlierDetection.consecutiveErrors",
        Effect::Ignored,
        "Istio dropped it as well; write consecutive5xxErrors or consecutiveGatewayErrors",
    ),
];

/// Where a DestinationRule has traffic policies.
const POLICIES: &[&str] = &[
    "subsets[].trafficPolicy.portLevelSettings[].",
    "subsets[].trafficPolicy.",
    "trafficPolicy.portLevelSettings[].",
    "trafficPolicy.",
];

/// What is said of the field at `path` in a table.
pub fn entry<'t>(table: &'t [Entry], path: &Path) -> Option<&'t Entry> {
    let shape = shape(path);
    let in_policy = POLICIES.iter().find_map(|policy| shape.strip_prefix(policy)).unwrap_or(&shape);
    table.iter().find(|(field, ..)| field.strip_prefix("*.").map_or(*field == shape, |field| field == in_policy))
}

/// The paths at which a value has fields of a table, in the table's order.
pub fn present(table: &[Entry], value: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    for (field, ..) in table {
        match field.strip_prefix("*.") {
            None => descend(value, field, &Path::root(), &mut found),
            Some(field) => {
                let places = POLICIES.iter().rev().map(|policy| format!("{policy}{field}"));
                places.for_each(|field| descend(value, &field, &Path::root(), &mut found));
            }
        }
    }
    found
}

fn descend(value: &Value, field: &str, at: &Path, found: &mut Vec<Path>) {
    let (part, rest) = field.split_once('.').unwrap_or((field, ""));
    let name = part.trim_end_matches("[]");
    let Some(below) = value.get(name) else { return };
    let at = at.key(name);
    let end = |value: &Value, at: &Path, found: &mut Vec<Path>| match rest {
        "" => found.push(at.clone()),
        _ => descend(value, rest, at, found),
    };
    if name == part {
        return end(below, &at, found);
    }
    for (index, item) in below.as_array().into_iter().flatten().enumerate() {
        end(item, &at.index(index), found);
    }
}

fn shape(path: &Path) -> String {
    let mut shape = String::new();
    for step in path.steps() {
        match step {
            Step::Key(key) if shape.is_empty() => shape.push_str(key),
            Step::Key(key) => {
                shape.push('.');
                shape.push_str(key);
            }
            Step::Index(_) => shape.push_str("[]"),
        }
    }
    shape
}
