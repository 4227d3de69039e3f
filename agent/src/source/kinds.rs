//! Which kinds there are, and what is made of each.

use super::schema::nearest;
use crate::model::{CredentialKind, Kind, RouteKind, Severity};

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemKind {
    /// A Namespace: its labels enrol its pods.
    Namespace,
    /// A Node: its labels say where its pods are.
    Node,
    /// What the data path reads.
    Mesh(Kind),
}

impl ItemKind {
    /// The kind's name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Mesh(Kind::Workload) => "Pod",
            Self::Mesh(Kind::Service) => "Service",
            Self::Mesh(Kind::EndpointSlice) => "EndpointSlice",
            Self::Mesh(Kind::VirtualService) => "VirtualService",
            Self::Mesh(Kind::DestinationRule) => "DestinationRule",
            Self::Mesh(Kind::PeerAuthentication) => "PeerAuthentication",
            Self::Mesh(Kind::AuthorizationPolicy) => "AuthorizationPolicy",
            Self::Mesh(Kind::RequestAuthentication) => "RequestAuthentication",
            Self::Mesh(Kind::Sidecar) => "Sidecar",
            Self::Mesh(Kind::Route(kind)) => kind.as_str(),
            Self::Mesh(Kind::ReferenceGrant) => "ReferenceGrant",
            Self::Mesh(Kind::BackendTlsPolicy) => "BackendTLSPolicy",
            Self::Mesh(Kind::Credential(CredentialKind::Secret)) => "Secret",
            Self::Mesh(Kind::Credential(CredentialKind::ConfigMap)) => "ConfigMap",
        }
    }
}

/// What is to be done with an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Use {
    /// It is read.
    Read(ItemKind),
    /// An ordinary Kubernetes object that a data plane has no use for.
    NotOurs,
    /// It addresses the mesh, and is not in force.
    Unsupported(Severity, &'static str),
    /// Nobody knows it: what may have been meant.
    Unknown(String),
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ISTIO_NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const ISTIO_SECURITY: &[&str] = &["v1", "v1beta1"];

const READ: &[(&str, &[&str], ItemKind)] = &[
    ("", &["v1"], ItemKind::Namespace),
    ("", &["v1"], ItemKind::Node),
    ("", &["v1"], ItemKind::Mesh(Kind::Workload)),
    ("", &["v1"], ItemKind::Mesh(Kind::Service)),
    ("", &["v1"], ItemKind::Mesh(Kind::Credential(CredentialKind::Secret))),
    ("", &["v1"], ItemKind::Mesh(Kind::Credential(CredentialKind::ConfigMap))),
    ("discovery.k8s.io", &["v1"], ItemKind::Mesh(Kind::EndpointSlice)),
    ("networking.istio.io", ISTIO_NETWORKING, ItemKind::Mesh(Kind::VirtualService)),
    ("networking.istio.io", ISTIO_NETWORKING, ItemKind::Mesh(Kind::DestinationRule)),
    ("networking.istio.io", ISTIO_NETWORKING, ItemKind::Mesh(Kind::Sidecar)),
    ("security.istio.io", ISTIO_SECURITY, ItemKind::Mesh(Kind::PeerAuthentication)),
    ("security.istio.io", ISTIO_SECURITY, ItemKind::Mesh(Kind::AuthorizationPolicy)),
    ("security.istio.io", ISTIO_SECURITY, ItemKind::Mesh(Kind::RequestAuthentication)),
    (GATEWAY_API, &["v1", "v1beta1"], ItemKind::Mesh(Kind::Route(RouteKind::Http))),
    (GATEWAY_API, &["v1"], ItemKind::Mesh(Kind::Route(RouteKind::Grpc))),
    (GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"], ItemKind::Mesh(Kind::Route(RouteKind::Tls))),
    (GATEWAY_API, &["v1", "v1alpha2"], ItemKind::Mesh(Kind::Route(RouteKind::Tcp))),
    (GATEWAY_API, &["v1", "v1beta1"], ItemKind::Mesh(Kind::ReferenceGrant)),
    (GATEWAY_API, &["v1", "v1alpha3"], ItemKind::Mesh(Kind::BackendTlsPolicy)),
];

const ROUTES: &str = "has no effect: this kind is not supported yet";
const GATEWAY: &str = "has no effect in the mesh: gateways are not supported yet";

const UNSUPPORTED: &[(&str, &[&str], Severity, &str)] = &[
    ("networking.istio.io", &["Gateway"], Severity::Warning, GATEWAY),
    (
        "networking.istio.io",
        &["ServiceEntry", "WorkloadEntry", "WorkloadGroup", "EnvoyFilter", "ProxyConfig"],
        Severity::Warning,
        ROUTES,
    ),
    ("telemetry.istio.io", &["Telemetry"], Severity::Warning, ROUTES),
    ("extensions.istio.io", &["WasmPlugin", "TrafficExtension"], Severity::Warning, ROUTES),
    (GATEWAY_API, &["Gateway", "GatewayClass", "ListenerSet"], Severity::Warning, GATEWAY),
    (GATEWAY_API, &["UDPRoute"], Severity::Warning, ROUTES),
];

/// Kinds of the core group that exist and are not read.
const CORE: &[&str] = &[
    "Binding",
    "ComponentStatus",
    "Endpoints",
    "Event",
    "LimitRange",
    "List",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "ServiceAccount",
];

/// Groups that Kubernetes itself serves: their kinds do not concern the mesh. Where no kinds are listed, all are fine.
const KUBERNETES: &[(&str, &[&str])] = &[
    ("", CORE),
    ("apps", &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "Scale", "StatefulSet"]),
    ("autoscaling", &["HorizontalPodAutoscaler", "Scale"]),
    ("batch", &["CronJob", "Job"]),
    ("networking.k8s.io", &["IPAddress", "Ingress", "IngressClass", "NetworkPolicy", "ServiceCIDR"]),
    ("policy", &["Eviction", "PodDisruptionBudget", "PodSecurityPolicy"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
    ("admissionregistration.k8s.io", &[]),
    ("apiextensions.k8s.io", &[]),
    ("apiregistration.k8s.io", &[]),
    ("authentication.k8s.io", &[]),
    ("authorization.k8s.io", &[]),
    ("certificates.k8s.io", &[]),
    ("coordination.k8s.io", &[]),
    ("events.k8s.io", &[]),
    ("flowcontrol.apiserver.k8s.io", &[]),
    ("internal.apiserver.k8s.io", &[]),
    ("metrics.k8s.io", &[]),
    ("node.k8s.io", &[]),
    ("resource.k8s.io", &[]),
    ("scheduling.k8s.io", &[]),
    ("storage.k8s.io", &[]),
    ("storagemigration.k8s.io", &[]),
];

/// What is to be done with an object of this `apiVersion` and `kind`.
pub fn classify(api_version: &str, kind: &str) -> Use {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if let Some((_, versions, item)) = READ.iter().find(|(g, _, k)| *g == group && k.as_str() == kind) {
        return match versions.contains(&version) {
            true => Use::Read(*item),
            false => Use::Unknown(format!("{kind} is read in the versions {}", versions.join(", "))),
        };
    }
    if let Some((_, _, severity, why)) = UNSUPPORTED.iter().find(|(g, k, ..)| *g == group && k.contains(&kind)) {
        return Use::Unsupported(*severity, why);
    }
    match KUBERNETES.iter().any(|(g, kinds)| *g == group && (kinds.is_empty() || kinds.contains(&kind))) {
        true => Use::NotOurs,
        false => Use::Unknown(meant(kind, group)),
    }
}

fn meant(kind: &str, group: &str) -> String {
    let read = READ.iter().map(|(g, v, k)| (*g, v[0], k.as_str()));
    let unsupported = UNSUPPORTED.iter().flat_map(|(g, kinds, ..)| kinds.iter().map(move |kind| (*g, "v1", *kind)));
    let kubernetes = KUBERNETES.iter().flat_map(|(g, kinds)| kinds.iter().map(move |kind| (*g, "v1", *kind)));
    let all: Vec<_> = read.chain(unsupported).chain(kubernetes).collect();
    let here: Vec<&str> = all.iter().filter(|(g, ..)| *g == group).map(|(.., kind)| *kind).collect();
    let everywhere: Vec<&str> = all.iter().map(|(.., kind)| *kind).collect();
    let Some(name) = nearest(kind, &here).or_else(|| nearest(kind, &everywhere)) else {
        return "remove it from the manifests, or correct apiVersion and kind".to_owned();
    };
    match all.iter().find(|(.., kind)| *kind == name) {
        Some(("", version, _)) => format!("did you mean {name} (apiVersion {version})?"),
        Some((group, version, _)) => format!("did you mean {name} (apiVersion {group}/{version})?"),
        None => format!("did you mean {name}?"),
    }
}
