//! Which pods a cluster should have: Deployments, StatefulSets, DaemonSets and bare Pods, laid onto nodes.

use serde_json::Value;

use crate::document::Object;
use crate::store::Store;
use crate::topology::{Cluster, Node};

/// Pods that come from one object.
#[derive(Clone, Debug)]
pub struct Desired {
    /// `Deployment/reviews-v1`; empty for a bare pod.
    pub owner: String,
    /// Namespace.
    pub namespace: String,
    /// Beginning of the pods' names, or the name of the bare pod.
    pub base: String,
    /// Of the template: another one means new pods.
    pub hash: String,
    /// `{metadata, spec}`.
    pub template: Value,
    /// One for each replica: the node, where the pod cannot choose.
    pub places: Vec<Option<String>>,
}

/// What the store's objects ask for.
pub fn desired(store: &Store, cluster: &Cluster) -> Vec<Desired> {
    let mut all = Vec::new();
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        all.extend(store.all(kind).iter().filter_map(|object| controlled(object, cluster)));
    }
    // The lab writes Pod objects too: those have an owner.
    let bare = store.all("Pod").into_iter().filter(|pod| pod.value.pointer("/metadata/ownerReferences").is_none());
    all.extend(bare.map(|pod| bare_pod(&pod, cluster)));
    all
}

fn controlled(object: &Object, cluster: &Cluster) -> Option<Desired> {
    let template = object.value.pointer("/spec/template")?.clone();
    let fitting = fitting_nodes(&template, cluster);
    let replicas = object.value.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1).min(1000);
    let places = match object.kind.as_str() {
        "DaemonSet" => fitting.iter().map(|node| Some(node.name.clone())).collect(),
        _ if fitting.is_empty() => Vec::new(),
        _ => vec![only(&fitting); usize::try_from(replicas).unwrap_or(1)],
    };
    Some(Desired {
        owner: format!("{}/{}", object.kind, object.name),
        namespace: object.namespace.clone(),
        base: object.name.clone(),
        hash: hash(&template),
        template,
        places,
    })
}

fn bare_pod(pod: &Object, cluster: &Cluster) -> Desired {
    let template = serde_json::json!({
        "metadata": {"labels": pod.value.pointer("/metadata/labels"),
                     "annotations": pod.value.pointer("/metadata/annotations")},
        "spec": pod.value.pointer("/spec"),
    });
    // The scheduler's own mark on the object must not make it another pod.
    let mut unplaced = template.clone();
    if let Some(spec) = unplaced.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("nodeName");
        spec.remove("serviceAccountName");
    }
    if let Some(annotations) = unplaced.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("underpass.io/tunnel");
    }
    let fitting = fitting_nodes(&template, cluster);
    let place = if fitting.is_empty() { Vec::new() } else { vec![only(&fitting)] };
    Desired {
        owner: String::new(),
        namespace: pod.namespace.clone(),
        base: pod.name.clone(),
        hash: hash(&unplaced["spec"]),
        template,
        places: place,
    }
}

fn only(nodes: &[&Node]) -> Option<String> {
    (nodes.len() == 1).then(|| nodes[0].name.clone())
}

/// The nodes that `nodeName` and `nodeSelector` leave.
pub fn fitting_nodes<'a>(template: &Value, cluster: &'a Cluster) -> Vec<&'a Node> {
    let name = template.pointer("/spec/nodeName").and_then(Value::as_str);
    let selector = template.pointer("/spec/nodeSelector").and_then(Value::as_object);
    let fits = |node: &&Node| {
        name.is_none_or(|name| node.name == name)
            && selector.into_iter().flatten().all(|(key, value)| match key.as_str() {
                "kubernetes.io/hostname" => value.as_str() == Some(&node.name),
                "kubernetes.io/os" => value.as_str() == Some("linux"),
                key => node.labels.get(key).map(String::as_str) == value.as_str(),
            })
    };
    cluster.nodes.iter().filter(fits).collect()
}

/// FNV-1a in the letters that Kubernetes uses for such hashes (no vowels, nothing that looks alike).
pub fn hash(value: &Value) -> String {
    let start: u64 = 0xcbf2_9ce4_8422_2325;
    let sum = value.to_string().bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    letters(sum, 9)
}

/// The last letters of a number in that alphabet.
pub fn letters(mut number: u64, count: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::new();
    for _ in 0..count {
        text.push(char::from(ALPHABET[usize::try_from(number % 27).unwrap_or(0)]));
        number /= 27;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn node_selectors_are_honoured() {
        let cluster = Cluster::named("east", 2);
        let names = |template: Value| -> Vec<String> {
            fitting_nodes(&template, &cluster).iter().map(|node| node.name.clone()).collect()
        };
        assert_eq!(names(json!({"spec": {}})), ["east-1", "east-2"]);
        assert_eq!(names(json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "east-2"}}})), ["east-2"]);
        assert!(names(json!({"spec": {"nodeSelector": {"gpu": "yes"}}})).is_empty());
        assert_eq!(names(json!({"spec": {"nodeName": "east-1"}})), ["east-1"]);
    }

    #[test]
    fn a_changed_template_has_another_hash() {
        assert_ne!(hash(&json!({"a": 1})), hash(&json!({"a": 2})));
        assert_eq!(hash(&json!({"a": 1})), hash(&json!({"a": 1})));
    }
}
