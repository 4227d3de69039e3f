//! Pod: who it is, where it is, how it is reached.

use super::decode::{Strictness, decode};
use super::item::{Meaning, Metadata, OwnerReference, Raw};
use super::node::own_locality;
use super::notes::Notes;
use crate::model::{Labels, Locality, TunnelProtocol, Workload};
use crate::vocab::{
    ClusterName, Namespace, NetworkName, NodeName, PodId, ServiceAccount, SpiffeId, TrustDomain, WorkloadId,
};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// Says on a Namespace or a Pod whether the mesh takes care of it.
const ENROLMENT: &str = "istio.io/dataplane-mode";
/// Where a pod says it is itself.
const LOCALITY: &str = "istio-locality";
const NETWORK: &str = "topology.istio.io/network";
const TUNNEL: &str = "underpass.io/tunnel";
/// istio-cni writes it on pods that a ztunnel serves.
const REDIRECTION: &str = "ambient.istio.io/redirection";
const TEMPLATE_HASH: &str = "pod-template-hash";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    service_account_name: Option<String>,
    service_account: Option<String>,
    host_network: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    phase: String,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    last_transition_time: Option<String>,
}

/// A pod as it says itself, before its namespace has its say.
#[derive(Clone, Debug, PartialEq)]
pub struct PodDraft {
    id: PodId,
    addresses: Vec<IpAddr>,
    node: NodeName,
    service_account: ServiceAccount,
    labels: Labels,
    owner: Arc<str>,
    ready: bool,
    ready_since: Option<SystemTime>,
    host_network: bool,
    tunnel: Option<TunnelProtocol>,
    redirected: bool,
}

/// What a pod gets from what surrounds it.
pub struct Surroundings<'a> {
    /// The pod's cluster.
    pub cluster: &'a ClusterName,
    /// The cluster's network, unless the pod says otherwise.
    pub network: &'a NetworkName,
    /// The mesh's trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The labels of the pod's namespace.
    pub namespace: Option<&'a Labels>,
    /// Where its node is.
    pub node: Option<&'a Locality>,
}

/// Reads a pod. Pods that ended or have no address yet mean nothing.
pub fn read(raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (spec, spec_path) = raw.part("spec");
    let (status, status_path) = raw.part("status");
    let spec: Spec = decode(&spec, &spec_path, Strictness::Lenient, notes)?.value;
    let status: Status = decode(&status, &status_path, Strictness::Lenient, notes)?.value;
    let before = notes.errors();
    let texts = status.pod_ip.iter().chain(status.pod_ips.iter().map(|entry| &entry.ip));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in texts.filter(|text| !text.is_empty()) {
        match text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if addresses.contains(&ip) => {}
            Ok(ip) => addresses.push(ip),
            Err(_) => notes.invalid("invalid-value", &status_path.key("podIP"), format!("`{text}` is not an address")),
        }
    }
    if notes.errors() > before {
        return None;
    }
    // A typo in these words is an error, and no reason not to know the pod: it would go uncaptured.
    enrolment_word(raw, notes);
    let tunnel = tunnel(raw, notes);
    if addresses.is_empty() || matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return Some(Meaning::Nothing);
    }
    let ready = status.conditions.iter().find(|one| one.r#type == "Ready" && one.status == "True");
    let account = spec.service_account_name.or(spec.service_account).filter(|name| !name.is_empty());
    Some(Meaning::Pod(Box::new(PodDraft {
        id: PodId { namespace: raw.id.namespace.clone(), name: raw.id.name.clone() },
        addresses,
        node: spec.node_name.into(),
        service_account: account.unwrap_or_else(|| "default".to_owned()).into(),
        owner: owner(raw.meta).into(),
        ready: ready.is_some(),
        // A time that cannot be read is as good as none: only a new pod's first minutes hang on it.
        ready_since: ready.and_then(|one| humantime::parse_rfc3339(one.last_transition_time.as_deref()?).ok()),
        host_network: spec.host_network,
        tunnel,
        redirected: raw.meta.annotations.get(REDIRECTION).is_some_and(|value| value == "enabled"),
        labels: raw.meta.labels.clone(),
    })))
}

/// Says so where a Namespace or Pod carries a mode that nobody knows.
pub fn enrolment_word(raw: &Raw<'_>, notes: &mut Notes<'_>) {
    let Some(mode) = raw.meta.labels.get(ENROLMENT) else {
        return;
    };
    if !matches!(mode.as_ref(), "ambient" | "underpass" | "none") {
        let path = raw.path.key("metadata").key("labels").key(ENROLMENT);
        notes.error("invalid-value", &path, format!("`{mode}` is not a mode: it is ambient, underpass or none"));
    }
}

fn tunnel(raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<TunnelProtocol> {
    match raw.meta.annotations.get(TUNNEL)?.as_str() {
        "underpass" => Some(TunnelProtocol::Underpass),
        "hbone" => Some(TunnelProtocol::Hbone),
        other => {
            let path = raw.path.key("metadata").key("annotations").key(TUNNEL);
            notes.error("invalid-value", &path, format!("`{other}` is not a tunnel: it is underpass or hbone"));
            None
        }
    }
}

/// The name of what the author wrote to get this pod: its Deployment behind the ReplicaSet, its CronJob behind the
/// Job, as Istio derives it; the pod's own name where nobody owns it.
fn owner(meta: &Metadata) -> String {
    let hash = meta.labels.get(TEMPLATE_HASH).map(AsRef::as_ref).filter(|hash: &&str| !hash.is_empty());
    let controller = meta.owner_references.iter().find(|owner| owner.controller);
    let Some(OwnerReference { kind, name, .. }) = controller.or_else(|| meta.owner_references.first()) else {
        return hash.and_then(|hash| before_hash(&meta.name, hash)).unwrap_or(&meta.name).to_owned();
    };
    let derived = match kind.as_str() {
        "ReplicaSet" => hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-')),
        // A CronJob's Job ends in the minute it was due: 8 to 10 digits.
        "Job" => name
            .rsplit_once('-')
            .filter(|(_, tail)| (8..=10).contains(&tail.len()) && tail.bytes().all(|b| b.is_ascii_digit()))
            .map(|(front, _)| front),
        _ => None,
    };
    derived.unwrap_or(name).to_owned()
}

/// `reviews-v1` of the pod `reviews-v1-5f8c7d-x2x4z` with the template hash `5f8c7d`.
fn before_hash<'a>(pod: &'a str, hash: &str) -> Option<&'a str> {
    pod.split_once(&format!("-{hash}-")).map(|(front, _)| front).filter(|front| !front.is_empty())
}

impl PodDraft {
    /// The pod's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.id.namespace
    }

    /// The node that it is on.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The pod within its surroundings.
    pub fn place(&self, around: &Surroundings<'_>) -> Workload {
        let label = |keys: [&str; 3]| keys.iter().find_map(|key| self.labels.get(*key)).filter(|v| !v.is_empty());
        let enrolled = self.is_enrolled(around.namespace);
        let own_place = self.labels.get(LOCALITY).and_then(|value| own_locality(value));
        let network = self.labels.get(NETWORK).map_or_else(|| around.network.clone(), |name| name.as_ref().into());
        Workload {
            id: WorkloadId { cluster: around.cluster.clone(), pod: self.id.clone() },
            addresses: self.addresses.clone(),
            node: self.node.clone(),
            network,
            identity: SpiffeId {
                trust_domain: around.trust_domain.clone(),
                namespace: self.id.namespace.clone(),
                service_account: self.service_account.clone(),
            },
            canonical_service: label(["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
                .unwrap_or(&self.owner)
                .clone(),
            canonical_revision: label(["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"])
                .cloned()
                .unwrap_or_else(|| "latest".into()),
            labels: self.labels.clone(),
            owner: self.owner.clone(),
            enrolled: enrolled && !self.is_ztunnels(),
            tunnel: self.tunnel(enrolled),
            ready: self.ready,
            ready_since: self.ready_since,
            locality: own_place.or_else(|| around.node.cloned()).unwrap_or_default(),
        }
    }

    /// The pod's own word counts before its namespace's, if it is one.
    fn is_enrolled(&self, namespace: Option<&Labels>) -> bool {
        let word = |labels: &Labels| match labels.get(ENROLMENT)?.as_ref() {
            "ambient" | "underpass" => Some(true),
            "none" => Some(false),
            _ => None,
        };
        let own = word(&self.labels);
        !self.host_network && own.or_else(|| word(namespace?)).unwrap_or(false)
    }

    /// Whether a ztunnel serves it: then this agent must not capture it as well.
    fn is_ztunnels(&self) -> bool {
        self.redirected && self.tunnel.is_none()
    }

    fn tunnel(&self, enrolled: bool) -> TunnelProtocol {
        match enrolled {
            _ if self.host_network => TunnelProtocol::Plaintext,
            _ if self.is_ztunnels() => TunnelProtocol::Hbone,
            true => self.tunnel.unwrap_or(TunnelProtocol::Underpass),
            false => TunnelProtocol::Plaintext,
        }
    }
}

/// The network that a cluster says it is on, by a label of its root namespace, as Istio reads it.
pub fn network_of(root_namespace: Option<&Labels>) -> Option<NetworkName> {
    root_namespace?.get(NETWORK).map(|name| name.as_ref().into())
}
