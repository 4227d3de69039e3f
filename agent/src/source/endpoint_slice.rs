//! EndpointSlice: the addresses behind a Service.

use super::Scope;
use super::decode::{Strictness, decode};
use super::item::{Meaning, Raw};
use super::name;
use super::notes::Notes;
use super::path::Path;
use crate::model::endpoint::{EndpointAddress, EndpointPort};
use crate::model::workload::service_host;
use crate::model::{EndpointSlice, Object};
use crate::vocab::NodeName;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Slice {
    address_type: String,
    endpoints: Vec<Endpoint>,
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    node_name: Option<String>,
    zone: Option<String>,
    hints: Hints,
}

/// Absent means ready, serving as `ready` says, and not terminating (EndpointConditions in discovery.k8s.io/v1).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hints {
    for_zones: Vec<Hint>,
    for_nodes: Vec<Hint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hint {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
    port: Option<i64>,
    protocol: Option<String>,
}

/// Reads a slice. One without a Service, or of names instead of addresses, means nothing.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let slice: Slice = decode(raw.value, &raw.path, Strictness::Lenient, notes)?.value;
    let Some(service) = raw.meta.labels.get(SERVICE_NAME).filter(|name| !name.is_empty()) else {
        let what = format!("without the label {SERVICE_NAME} it belongs to no Service, and is not used");
        notes.warning("no-service", &raw.path.key("metadata"), what);
        return Some(Meaning::Nothing);
    };
    match slice.address_type.as_str() {
        "IPv4" | "IPv6" => {}
        "FQDN" => {
            let what = "endpoints that are names are not supported: this slice is not used";
            notes.warning("unsupported-field", &raw.path.key("addressType"), what);
            return Some(Meaning::Nothing);
        }
        other => {
            let what = format!("`{other}` is not a type of addresses: it is IPv4 or IPv6");
            notes.invalid("invalid-value", &raw.path.key("addressType"), what);
            return None;
        }
    }
    let before = notes.errors();
    let addresses = addresses(&slice.endpoints, &raw.path.key("endpoints"), notes);
    let ports = ports(&slice.ports, &raw.path.key("ports"), notes);
    (notes.errors() == before).then(|| {
        Meaning::object(Object::EndpointSlice(EndpointSlice {
            cluster: scope.cluster.clone(),
            id: raw.id.clone(),
            service: service_host(service, raw.id.namespace.as_str(), scope.cluster_domain),
            addresses,
            ports,
        }))
    })
}

fn addresses(endpoints: &[Endpoint], path: &Path, notes: &mut Notes<'_>) -> Vec<EndpointAddress> {
    let mut addresses = Vec::with_capacity(endpoints.len());
    for (at, endpoint) in endpoints.iter().enumerate() {
        let model = endpoint.model();
        for (nth, text) in endpoint.addresses.iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(ip) => addresses.push(EndpointAddress { ip: ip.to_canonical(), ..model.clone() }),
                Err(_) => {
                    let path = path.index(at).key("addresses").index(nth);
                    notes.invalid("invalid-value", &path, format!("`{text}` is not an address"));
                }
            }
        }
    }
    addresses
}

impl Endpoint {
    /// What holds for each of its addresses.
    fn model(&self) -> EndpointAddress {
        let ready = self.conditions.ready.unwrap_or(true);
        let text = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Arc::from);
        EndpointAddress {
            ip: Ipv4Addr::UNSPECIFIED.into(),
            ready,
            serving: self.conditions.serving.unwrap_or(ready),
            terminating: self.conditions.terminating.unwrap_or(false),
            node: self.node_name.as_deref().filter(|name| !name.is_empty()).map(NodeName::from),
            zone: text(&self.zone),
            for_zones: self.hints.for_zones.iter().map(|hint| hint.name.as_str().into()).collect(),
            for_nodes: self.hints.for_nodes.iter().map(|hint| hint.name.as_str().into()).collect(),
        }
    }
}

fn ports(ports: &[Port], path: &Path, notes: &mut Notes<'_>) -> Vec<EndpointPort> {
    let mut read = Vec::with_capacity(ports.len());
    for (at, port) in ports.iter().enumerate() {
        if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
            continue;
        }
        // No number means every port, which no Service selects.
        let Some(number) = port.port else { continue };
        match name::port(number) {
            Ok(number) => read.push(EndpointPort { name: port.name.as_str().into(), number }),
            Err(what) => notes.invalid("invalid-port", &path.index(at).key("port"), what),
        }
    }
    read
}
