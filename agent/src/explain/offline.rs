//! A snapshot of files, for `explain --files`: what a cluster would make of them is made up where it is missing.
//!
//! Files seldom hold pods and endpoints. Of what makes pods (a Deployment and its like) one pod is made, ready, with an
//! address that nothing has; and of the pods that a Service selects its endpoints, where it has none.

use crate::snapshot::{Assembler, Snapshot};
use crate::source::{Config, Declared, Text, read_given};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Addresses that are never given out (RFC 1112, class E).
const FIRST: u32 = 0xf000_0001;

/// Where kinds that make pods say what those look like.
const MAKERS: &[(&str, &str)] = &[
    ("Deployment", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
];

/// A pod that was found or made up.
struct Cast<'a> {
    namespace: &'a str,
    labels: Value,
    containers: Value,
    address: IpAddr,
}

/// The snapshot that an agent of the files' cluster would have.
pub fn snapshot_of(config: &Config, texts: &[Text]) -> Arc<Snapshot> {
    let given = read_given(config.clone(), texts);
    let mut all = texts.to_vec();
    all.push(Text { name: "(made up)".to_owned(), text: made_up(&given.declared).to_string() });
    let given = read_given(config.clone(), &all);
    Assembler::new(config.local.clone()).apply(given.update.changes).0
}

fn made_up(declared: &[Declared]) -> Value {
    let mut items = Vec::new();
    let mut casts: Vec<Cast<'_>> = declared.iter().filter_map(found).collect();
    for (number, maker) in (0..).zip(declared) {
        let Some((_, template)) = MAKERS.iter().find(|(kind, _)| *kind == maker.kind) else { continue };
        let Some(template) = maker.value.pointer(template) else { continue };
        let address = IpAddr::from(Ipv4Addr::from(FIRST + number));
        items.push(pod(maker, template, address));
        casts.push(Cast {
            namespace: maker.id.namespace.as_str(),
            labels: template["metadata"]["labels"].clone(),
            containers: template["spec"]["containers"].clone(),
            address,
        });
    }
    let sliced = |service: &Declared| {
        let named = |one: &&Declared| {
            let label = one.value.pointer("/metadata/labels").map(|labels| &labels["kubernetes.io/service-name"]);
            one.kind == "EndpointSlice" && label.is_some_and(|name| *name == *service.id.name)
        };
        declared.iter().any(|one| named(&one) && one.id.namespace == service.id.namespace)
    };
    let services = declared.iter().filter(|one| one.kind == "Service" && !sliced(one));
    items.extend(services.filter_map(|service| slice(service, &casts)));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn found(one: &Declared) -> Option<Cast<'_>> {
    let address = one.text("/status/podIP").filter(|_| one.kind == "Pod")?.parse().ok()?;
    let labels = one.value["metadata"]["labels"].clone();
    let containers = one.value["spec"]["containers"].clone();
    Some(Cast { namespace: one.id.namespace.as_str(), labels, containers, address })
}

/// The pod bears the name of what made it, by which it is asked for.
fn pod(maker: &Declared, template: &Value, address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": &*maker.id.name,
            "namespace": maker.id.namespace.as_str(),
            "labels": template["metadata"]["labels"],
        },
        "spec": { "nodeName": "made-up", "serviceAccountName": template["spec"]["serviceAccountName"] },
        "status": {
            "phase": "Running",
            "podIP": address.to_string(),
            "podIPs": [{ "ip": address.to_string() }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

fn slice(service: &Declared, casts: &[Cast<'_>]) -> Option<Value> {
    let selector = service.value.pointer("/spec/selector")?.as_object()?;
    let selected = |cast: &&Cast<'_>| {
        cast.namespace == service.id.namespace.as_str()
            && selector.iter().all(|(key, value)| cast.labels[key] == *value)
    };
    let pods: Vec<&Cast<'_>> = casts.iter().filter(selected).collect();
    let ports = service.list("/spec/ports").iter().filter_map(|port| {
        let target = match &port["targetPort"] {
            Value::Null => port["port"].clone(),
            Value::String(name) => named(name, pods.first()?)?,
            number => number.clone(),
        };
        Some(json!({ "name": port["name"].as_str().unwrap_or_default(), "port": target, "protocol": "TCP" }))
    });
    let endpoint =
        |cast: &&Cast<'_>| json!({ "addresses": [cast.address.to_string()], "conditions": { "ready": true } });
    Some(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-made-up", service.id.name),
            "namespace": service.id.namespace.as_str(),
            "labels": { "kubernetes.io/service-name": &*service.id.name },
        },
        "addressType": "IPv4",
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports.collect::<Vec<_>>(),
    }))
}

/// The number of a port that a container names.
fn named(name: &str, cast: &Cast<'_>) -> Option<Value> {
    let containers = cast.containers.as_array()?.iter();
    let mut ports = containers.filter_map(|container| container["ports"].as_array()).flatten();
    ports.find(|port| port["name"] == name).map(|port| port["containerPort"].clone())
}
