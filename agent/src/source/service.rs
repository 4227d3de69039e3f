//! Service: addresses, ports and what is spoken on them.

use super::Scope;
use super::decode::{Strictness, decode};
use super::item::{Meaning, Raw};
use super::name;
use super::notes::Notes;
use super::path::Path;
use super::schema::SERVICE;
use crate::model::workload::service_host;
use crate::model::{AppProtocol, Object, Service, ServicePort};
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    r#type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    port: i64,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

/// Reads a Service. One of type ExternalName means nothing yet.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (spec, path) = raw.part("spec");
    let spec: Spec = decode(&spec, &path, Strictness::Strict(&SERVICE), notes)?.value;
    if spec.r#type == "ExternalName" {
        let what = "a Service of type ExternalName is not supported yet: traffic to it is left as it is";
        notes.warning("unsupported-field", &path.key("type"), what);
        return Some(Meaning::Nothing);
    }
    let before = notes.errors();
    if !name::is_label(&raw.id.name) {
        let what = format!("`{}` is not a name that a Service can have: a-z, 0-9 and `-`, at most 63", raw.id.name);
        notes.invalid("invalid-name", &raw.path.key("metadata").key("name"), what);
    }
    let addresses = addresses(&spec, &path, notes);
    let ports = ports(&spec, &path.key("ports"), notes);
    if notes.errors() > before {
        return None;
    }
    Some(Meaning::object(Object::Service(Service {
        cluster: scope.cluster.clone(),
        host: service_host(&raw.id.name, raw.id.namespace.as_str(), scope.cluster_domain),
        namespace: raw.id.namespace.clone(),
        name: raw.id.name.clone(),
        addresses,
        ports,
        labels: raw.meta.labels.clone(),
    })))
}

fn addresses(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> Vec<IpAddr> {
    let many = spec.cluster_ips.iter().enumerate().map(|(at, text)| (path.key("clusterIPs").index(at), text));
    let one = spec.cluster_ip.iter().map(|text| (path.key("clusterIP"), text));
    let mut addresses = Vec::new();
    for (path, text) in one.chain(many).filter(|(_, text)| !matches!(text.as_str(), "" | "None")) {
        match text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if addresses.contains(&ip) => {}
            Ok(ip) => addresses.push(ip),
            Err(_) => notes.invalid("invalid-value", &path, format!("`{text}` is neither an address nor None")),
        }
    }
    addresses
}

fn ports(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (at, port) in spec.ports.iter().enumerate() {
        let path = path.index(at);
        match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => {}
            "UDP" | "SCTP" => continue,
            other => {
                let what = format!("`{other}` is not a protocol: it is TCP, UDP or SCTP");
                notes.invalid("invalid-value", &path.key("protocol"), what);
                continue;
            }
        }
        let number = match name::port(port.port) {
            Ok(number) => number,
            Err(what) => {
                notes.invalid("invalid-port", &path.key("port"), what);
                continue;
            }
        };
        if ports.iter().any(|other| other.number == number || (spec.ports.len() > 1 && *other.name == *port.name)) {
            notes.invalid("duplicate-port", &path, "another port has this number or name: each needs its own");
            continue;
        }
        let protocol = protocol(number, &port.name, port.app_protocol.as_deref());
        ports.push(ServicePort { number, name: port.name.as_str().into(), protocol });
    }
    ports
}

/// As Istio selects it (istio/pkg/config/kube/conversion.go): `appProtocol`, else the port's name up to its first `-`;
/// ports of protocols whose server speaks first are opaque where nothing is said.
pub fn protocol(number: u16, name: &str, app_protocol: Option<&str>) -> AppProtocol {
    let word = app_protocol.unwrap_or(name).to_ascii_lowercase();
    match word.as_str() {
        "kubernetes.io/h2c" => return AppProtocol::Http2,
        "kubernetes.io/ws" => return AppProtocol::Http,
        "kubernetes.io/wss" => return AppProtocol::Tcp,
        _ if word.starts_with("grpc-web") => return AppProtocol::Http,
        _ => {}
    }
    match word.split('-').next().unwrap_or_default() {
        "http" => AppProtocol::Http,
        "http2" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "tcp" | "https" | "tls" | "mongo" | "mysql" | "redis" => AppProtocol::Tcp,
        _ if matches!(number, 25 | 53 | 3306 | 27017) => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}
