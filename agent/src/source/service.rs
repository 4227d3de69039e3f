//! Service: addresses, ports and what is spoken on them.

use super::Scope;
use super::decode::{Strictness, decode};
use super::item::{Meaning, Raw};
use super::name;
use super::notes::Notes;
use super::path::Path;
use super::schema::SERVICE;
use crate::model::workload::service_host;
use crate::model::{AppProtocol, Distribution, Object, Service, ServiceKind, ServicePort};
use crate::vocab::Hostname;
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    r#type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    external_name: Option<String>,
    ports: Vec<Port>,
    session_affinity: Option<String>,
    session_affinity_config: AffinityConfig,
    internal_traffic_policy: Option<String>,
    traffic_distribution: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: ClientIp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    port: i64,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

/// Istio's way to say `trafficDistribution`, for Kubernetes versions that do not have it; the field goes first.
const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
/// Kubernetes' default of `sessionAffinityConfig.clientIP.timeoutSeconds`, and its bounds.
const AFFINITY: i64 = 10_800;
const AFFINITY_MOST: i64 = 86_400;

/// Reads a Service.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (spec, path) = raw.part("spec");
    let spec: Spec = decode(&spec, &path, Strictness::Strict(&SERVICE), notes)?.value;
    let before = notes.errors();
    if !name::is_label(&raw.id.name) {
        let what = format!("`{}` is not a name that a Service can have: a-z, 0-9 and `-`, at most 63", raw.id.name);
        notes.invalid("invalid-name", &raw.path.key("metadata").key("name"), what);
    }
    let kind = kind(&spec, &path, notes);
    let alias = matches!(kind, Some(ServiceKind::Alias(_)));
    let addresses = if alias { Vec::new() } else { addresses(&spec, &path, notes) };
    let ports = ports(&spec, &path.key("ports"), notes);
    let affinity = affinity(&spec, &path, notes);
    let node_local = node_local(&spec, &path, notes);
    let distribution = distribution(&spec, raw, &path, notes);
    if notes.errors() > before {
        return None;
    }
    Some(Meaning::object(Object::Service(Service {
        cluster: scope.cluster.clone(),
        host: service_host(&raw.id.name, raw.id.namespace.as_str(), scope.cluster_domain),
        namespace: raw.id.namespace.clone(),
        name: raw.id.name.clone(),
        addresses,
        kind: kind?,
        ports,
        labels: raw.meta.labels.clone(),
        affinity,
        node_local,
        distribution,
    })))
}

fn kind(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> Option<ServiceKind> {
    match spec.r#type.as_str() {
        "" | "ClusterIP" | "NodePort" | "LoadBalancer" => {
            let headless = spec.cluster_ip.as_deref() == Some("None") || spec.cluster_ips.iter().any(|ip| ip == "None");
            Some(if headless { ServiceKind::Headless } else { ServiceKind::Virtual })
        }
        "ExternalName" => alias(spec, path, notes).map(ServiceKind::Alias),
        other => {
            let what = format!("`{other}` is not a type: it is ClusterIP, NodePort, LoadBalancer or ExternalName");
            notes.invalid("invalid-value", &path.key("type"), what);
            None
        }
    }
}

fn alias(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> Option<Hostname> {
    let Some(text) = spec.external_name.as_deref().filter(|text| !text.is_empty()) else {
        let what = "`externalName` is missing: a Service of type ExternalName is another name for it";
        notes.error("missing-field", path, what);
        return None;
    };
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() || !name::is_subdomain(&host) {
        let what = format!("`{text}` is not a DNS name: addresses belong in an EndpointSlice");
        notes.invalid("invalid-host", &path.key("externalName"), what);
        return None;
    }
    Some(host.into())
}

fn affinity(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> Option<Duration> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            let what = format!("`{other}` is not an affinity: it is None or ClientIP");
            notes.invalid("invalid-value", &path.key("sessionAffinity"), what);
            return None;
        }
    }
    let seconds = spec.session_affinity_config.client_ip.timeout_seconds.unwrap_or(AFFINITY);
    let path = path.key("sessionAffinityConfig").key("clientIP").key("timeoutSeconds");
    match u64::try_from(seconds) {
        Ok(time) if (1..=AFFINITY_MOST).contains(&seconds) => Some(Duration::from_secs(time)),
        _ => {
            notes.invalid("invalid-value", &path, format!("{seconds} is not between 1 and {AFFINITY_MOST} seconds"));
            None
        }
    }
}

fn node_local(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> bool {
    match spec.internal_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => false,
        Some("Local") => true,
        Some(other) => {
            let what = format!("`{other}` is not a policy: it is Cluster or Local");
            notes.invalid("invalid-value", &path.key("internalTrafficPolicy"), what);
            false
        }
    }
}

/// Words that are not known are no error: Kubernetes leaves them to implementations.
fn distribution(spec: &Spec, raw: &Raw<'_>, path: &Path, notes: &mut Notes<'_>) -> Distribution {
    let annotation = raw.meta.annotations.get(DISTRIBUTION).map(String::as_str);
    let (word, path) = match spec.traffic_distribution.as_deref() {
        Some(word) => (word, path.key("trafficDistribution")),
        None => (annotation.unwrap_or_default(), raw.path.key("metadata").key("annotations").key(DISTRIBUTION)),
    };
    match word {
        "" | "Any" => Distribution::Any,
        "PreferClose" | "PreferSameZone" => Distribution::SameZone,
        "PreferSameNode" => Distribution::SameNode,
        other => {
            let what = format!(
                "`{other}` is not known and is ignored: it is PreferSameZone, PreferSameNode or PreferClose (the old \
                 name of PreferSameZone)"
            );
            notes.warning("unsupported-value", &path, what);
            Distribution::Any
        }
    }
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
        "kubernetes.io/wss" => return AppProtocol::Tls,
        _ if word.starts_with("grpc-web") => return AppProtocol::Http,
        _ => {}
    }
    match word.split('-').next().unwrap_or_default() {
        "http" | "http_proxy" => AppProtocol::Http,
        "http2" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "https" | "tls" => AppProtocol::Tls,
        "tcp" | "mongo" | "mysql" | "redis" => AppProtocol::Tcp,
        _ if matches!(number, 25 | 53 | 3306 | 27017) => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}
