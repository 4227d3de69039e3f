//! The objects that a cluster's own parts write: Node, Namespace, Pod.

use serde_json::{Map, Value, json};

use crate::desired::Desired;
use crate::record::{PodRecord, Record};
use crate::topology::Node;

/// A Node object as a kubelet registers it.
pub fn node(record: &Record, cluster: &str, node: &Node) -> Option<Value> {
    let n = record.node_number(cluster, &node.name)?;
    let plan = record.plan();
    let mut labels = json!({
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": cluster,
        "topology.kubernetes.io/zone": format!("{cluster}-{n}"),
    });
    for (key, value) in &node.labels {
        labels[key] = json!(value);
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {
            "podCIDR": format!("{}/24", plan.pod_v4(n, 0)),
            "podCIDRs": [format!("{}/24", plan.pod_v4(n, 0)), format!("{}/64", plan.pod_v6(n, 0))],
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": plan.node_v4(n)},
                {"type": "InternalIP", "address": plan.node_v6(n)},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
}

/// A namespace that nobody wrote a manifest for: enrolled.
pub fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/metadata.name": name, "istio.io/dataplane-mode": "ambient"}},
    })
}

/// A Pod object as scheduler and kubelet leave it.
pub fn pod(desired: &Desired, pod: &PodRecord, node: &Node, ready: bool) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(pod.name));
    metadata.insert("namespace".to_owned(), json!(pod.namespace));
    metadata.insert("labels".to_owned(), labels(desired, node));
    metadata.insert("annotations".to_owned(), annotations(desired, node));
    if let Some(owner) = owner(desired) {
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
    }
    let mut spec = desired.template.get("spec").cloned().unwrap_or_else(|| json!({}));
    spec["nodeName"] = json!(pod.node);
    if spec.get("serviceAccountName").is_none_or(Value::is_null) {
        spec["serviceAccountName"] = json!("default");
    }
    let status = if ready { "True" } else { "False" };
    let condition = |kind: &str| json!({"type": kind, "status": status, "lastTransitionTime": pod.made});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "phase": if ready { "Running" } else { "Pending" },
            "podIP": pod.v4,
            "podIPs": [{"ip": pod.v4}, {"ip": pod.v6}],
            "conditions": [condition("Ready"), condition("ContainersReady")],
        },
    })
}

fn labels(desired: &Desired, node: &Node) -> Value {
    let mut labels = desired.template.pointer("/metadata/labels").cloned().filter(Value::is_object);
    let labels = labels.get_or_insert_with(|| json!({}));
    if desired.owner.starts_with("Deployment/") {
        labels["pod-template-hash"] = json!(desired.hash);
    }
    if !node.agent && node.tunnel.is_none() && labels.get("istio.io/dataplane-mode").is_none() {
        labels["istio.io/dataplane-mode"] = json!("none");
    }
    labels.take()
}

fn annotations(desired: &Desired, node: &Node) -> Value {
    let mut annotations = desired.template.pointer("/metadata/annotations").cloned().filter(Value::is_object);
    let annotations = annotations.get_or_insert_with(|| json!({}));
    let speaks = node.tunnel.unwrap_or(crate::topology::Tunnel::Underpass);
    let unmeshed = !node.agent && node.tunnel.is_none();
    if !unmeshed && annotations.get("underpass.io/tunnel").is_none() {
        annotations["underpass.io/tunnel"] = json!(speaks.as_str());
    }
    annotations.take()
}

fn owner(desired: &Desired) -> Option<Value> {
    let (kind, name) = desired.owner.split_once('/')?;
    // A Deployment owns its pods through a ReplicaSet.
    let (kind, name) = match kind {
        "Deployment" => ("ReplicaSet", format!("{name}-{}", desired.hash)),
        kind => (kind, name.to_owned()),
    };
    Some(json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}))
}
