//! Names that lead to nothing in the files.

use super::facts::Facts;
use super::objects::Objects;
use crate::model::{Finding, ObjectId, Severity};
use crate::source::Declared;
use serde_json::Value;

/// References to objects that the data path does not look up itself.
pub(super) fn missing(_: &Objects<'_>, facts: &Facts<'_>) -> Vec<Finding> {
    let gateways = facts.of_kind("VirtualService").flat_map(|one| gateways(one, facts));
    let secrets = facts.of_kind("DestinationRule").flat_map(|one| secrets(one, facts));
    let ports = facts.of_kind("Service").flat_map(|one| target_ports(one, facts));
    gateways.chain(secrets).chain(ports).collect()
}

/// Gateways that a VirtualService is bound to.
fn gateways(one: &Declared, facts: &Facts<'_>) -> Vec<Finding> {
    let missing = |(at, name): (usize, &Value)| {
        let name = name.as_str().filter(|name| *name != "mesh")?;
        let (namespace, short) = name.split_once('/').unwrap_or((one.id.namespace.as_str(), name));
        let id = ObjectId { namespace: namespace.into(), name: short.into() };
        if facts.has("Gateway", &id) {
            return None;
        }
        let place = one.at(&format!("/spec/gateways/{at}"));
        Some(reference(facts, "Gateway", &id, ("missing-gateway", place.to_string())))
    };
    one.list("/spec/gateways").iter().enumerate().filter_map(missing).collect()
}

/// Secrets that hold what a client shows or trusts.
fn secrets(one: &Declared, facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    strings(&one.value["spec"], "/spec".to_owned(), "credentialName", &mut found);
    let missing = |(pointer, name): (String, String)| {
        let name = name.strip_prefix("kubernetes://").unwrap_or(&name);
        let (namespace, short) = name.split_once('/').unwrap_or((one.id.namespace.as_str(), name));
        let id = ObjectId { namespace: namespace.into(), name: short.into() };
        let absent = !facts.has("Secret", &id) && !facts.has("ConfigMap", &id);
        absent.then(|| reference(facts, "Secret", &id, ("missing-secret", one.at(&pointer).to_string())))
    };
    found.into_iter().filter_map(missing).collect()
}

/// Every text under `key`, however deep, with its pointer.
fn strings(value: &Value, at: String, key: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) => entries.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == key => found.push((format!("{at}/{name}"), text.to_owned())),
            _ => strings(value, format!("{at}/{name}"), key, found),
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| strings(item, format!("{at}/{index}"), key, found));
        }
        _ => {}
    }
}

fn reference(facts: &Facts<'_>, kind: &str, id: &ObjectId, (code, at): (&'static str, String)) -> Finding {
    let known = facts.speak_of(kind, id.namespace.as_str());
    let (severity, hint) = match known {
        true => (Severity::Error, "correct the name, or add it".to_owned()),
        false => (Severity::Warning, format!("these files hold no {kind} of that namespace: give its file too")),
    };
    Finding { severity, code, at, message: format!("there is no {kind} {id}; {hint}") }
}

/// Ports that a Service names and its pods do not have.
fn target_ports(one: &Declared, facts: &Facts<'_>) -> Vec<Finding> {
    let selector = super::facts::labels(one.value.pointer("/spec/selector"));
    let pods: Vec<_> = facts.pods(one.id.namespace.as_str(), &selector).collect();
    if selector.is_empty() || pods.is_empty() {
        return Vec::new();
    }
    let missing = |(at, port): (usize, &Value)| {
        let name = port["targetPort"].as_str()?;
        if pods.iter().any(|pod| pod.has_port(name)) {
            return None;
        }
        let place = one.at(&format!("/spec/ports/{at}/targetPort"));
        let message = format!(
            "no container of the pods that Service {} selects has a port named `{name}`: the port has no endpoints; \
             name the container's port so, or write its number",
            one.id
        );
        Some(super::warning("missing-port", place, message))
    };
    one.list("/spec/ports").iter().enumerate().filter_map(missing).collect()
}
