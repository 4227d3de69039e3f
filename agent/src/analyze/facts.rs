//! What the files declare, also of kinds that the data path does not read: what else could a name lead to?

use crate::model::workload::service_host;
use crate::model::{Labels, ObjectId};
use crate::source::Declared;
use serde_json::Value;

/// Where kinds that make pods hold what their pods look like.
const TEMPLATES: &[(&str, &str)] = &[
    ("Pod", ""),
    ("Deployment", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

/// The objects of the files, found by what may be said of them.
pub(super) struct Facts<'a> {
    pub(super) declared: &'a [Declared],
    cluster_domain: &'a str,
    pods: Vec<PodShape<'a>>,
}

/// A pod, or what a Deployment makes its pods look like.
pub(super) struct PodShape<'a> {
    namespace: &'a str,
    labels: Labels,
    /// `spec` of the pod.
    spec: &'a Value,
}

impl<'a> Facts<'a> {
    pub(super) fn new(declared: &'a [Declared], cluster_domain: &'a str) -> Self {
        Self { declared, cluster_domain, pods: declared.iter().filter_map(shape).collect() }
    }

    /// Whether there is an object of this kind.
    pub(super) fn has(&self, kind: &str, id: &ObjectId) -> bool {
        self.find(kind, id).is_some()
    }

    /// The object of this kind and name.
    pub(super) fn find(&self, kind: &str, id: &ObjectId) -> Option<&'a Declared> {
        self.of_kind(kind).find(|one| one.id == *id)
    }

    /// Every object of a kind.
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &'a Declared> {
        self.declared.iter().filter(move |one| one.kind == kind)
    }

    /// Whether the files hold any object of this kind in a namespace, so that one that is not there is missing.
    pub(super) fn speak_of(&self, kind: &str, namespace: &str) -> bool {
        self.of_kind(kind).any(|one| one.id.namespace.as_str() == namespace)
    }

    /// Whether the files hold any pod of a namespace, or what makes pods.
    pub(super) fn speak_of_pods(&self, namespace: &str) -> bool {
        self.pods.iter().any(|pod| pod.namespace == namespace)
    }

    /// The pods of a namespace that carry all of these labels.
    pub(super) fn pods(&self, namespace: &str, labels: &Labels) -> impl Iterator<Item = &PodShape<'a>> {
        let carries = move |pod: &&PodShape<'a>| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        self.pods.iter().filter(move |pod| pod.namespace == namespace).filter(carries)
    }

    /// The name and namespace of the Service that a host names, if it is one of this cluster.
    pub(super) fn service_of(&self, host: &str) -> Option<ObjectId> {
        let name = host.strip_suffix(self.cluster_domain)?.strip_suffix(".svc.")?;
        let (name, namespace) = name.split_once('.')?;
        (!namespace.contains('.')).then(|| ObjectId { namespace: namespace.into(), name: name.into() })
    }

    /// The Service that a host names, if the files have it.
    pub(super) fn service(&self, host: &str) -> Option<&'a Declared> {
        self.find("Service", &self.service_of(host)?)
    }

    /// Whether some Service or ServiceEntry has a host that this one, which may be a wildcard, is or covers.
    pub(super) fn has_host(&self, host: &str) -> bool {
        let meant = |other: &str| other == host || crate::route::host::covers(host, other);
        let service =
            |one: &Declared| meant(service_host(&one.id.name, one.id.namespace.as_str(), self.cluster_domain).as_str());
        let entry = |one: &Declared| {
            let mut hosts = one.list("/spec/hosts").iter().filter_map(Value::as_str);
            hosts.any(|other| meant(other) || crate::route::host::covers(other, host))
        };
        self.of_kind("Service").any(service) || self.of_kind("ServiceEntry").any(entry)
    }
}

impl PodShape<'_> {
    /// Whether a container of the pod names a port so.
    pub(super) fn has_port(&self, name: &str) -> bool {
        let containers = ["/containers", "/initContainers"].into_iter();
        let lists = containers.filter_map(|list| self.spec.pointer(list).and_then(Value::as_array)).flatten();
        let mut ports = lists.filter_map(|container| container["ports"].as_array()).flatten();
        ports.any(|port| port["name"] == name)
    }
}

/// The labels of a map such as a selector.
pub(super) fn labels(value: Option<&Value>) -> Labels {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect()
}

fn shape(one: &Declared) -> Option<PodShape<'_>> {
    let (_, template) = TEMPLATES.iter().find(|(kind, _)| *kind == one.kind)?;
    let template = one.value.pointer(template)?;
    let labels = labels(template.pointer("/metadata/labels"));
    Some(PodShape { namespace: one.id.namespace.as_str(), labels, spec: &template["spec"] })
}
