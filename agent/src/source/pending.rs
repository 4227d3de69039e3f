//! What Istio's kinds may say that is not executed: fields that are read into the model and wait for their executor,
//! and fields that stay without one. Who lands an executor takes its lines out of here.

use super::path::{Path, Step};
use serde_json::Value;

/// What becomes of an object that has such a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer would be another one without it: the rule is broken.
    Breaks,
    /// It is left out, and the rest is in force.
    Ignored,
}

/// A field, as in the schemas' tables, with what becomes of it and what to say beyond "is not supported yet".
type Entry = (&'static str, Effect, &'static str);

/// Of VirtualService.
pub const VIRTUAL_SERVICE: &[Entry] = &[
    // Route and HTTP relay.
    ("http[].match[].queryParams", Effect::Breaks, ""),
    ("http[].match[].scheme", Effect::Breaks, ""),
    ("http[].redirect", Effect::Breaks, ""),
    ("http[].directResponse", Effect::Breaks, ""),
    ("http[].delegate", Effect::Breaks, ""),
    ("http[].rewrite", Effect::Breaks, ""),
    ("http[].headers", Effect::Breaks, ""),
    ("http[].route[].headers", Effect::Breaks, ""),
    ("http[].fault.abort", Effect::Breaks, ""),
    ("http[].fault.delay", Effect::Ignored, ""),
    ("http[].timeout", Effect::Ignored, ""),
    ("http[].retries", Effect::Ignored, ""),
    ("http[].mirror", Effect::Ignored, ""),
    ("http[].mirrors", Effect::Ignored, ""),
    ("http[].corsPolicy", Effect::Ignored, ""),
    // Connections.
    ("tls[]", Effect::Breaks, ""),
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

/// Whether a field waits for its executor.
pub fn is_pending(table: &[Entry], field: &str) -> bool {
    table.iter().any(|(pending, ..)| *pending == field)
}

/// What is said of the field at `path` in a table.
pub fn entry<'t>(table: &'t [Entry], path: &Path) -> Option<&'t Entry> {
    let shape = shape(path);
    table.iter().find(|(field, ..)| *field == shape)
}

/// The paths at which a value has fields of a table, in the table's order.
pub fn present(table: &[Entry], value: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    for (field, ..) in table {
        descend(value, field, &Path::root(), &mut found);
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
