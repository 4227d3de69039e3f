//! What a cluster tells about its pods: EndpointSlices for agents, names for applications.

use anyhow::Result;
use serde_json::Value;

use crate::document::Object;
use crate::hosts::{self, Named};
use crate::record::{PodRecord, Record};
use crate::service;
use crate::store::Store;
use crate::topology::Cluster;

/// EndpointSlices of all Services; those that nothing asks for any more go.
pub fn write_slices(record: &Record, cluster: &Cluster) -> Result<()> {
    let store = Store::open(record.manifests(&cluster.name))?;
    let mut wanted = Vec::new();
    for service in store.all("Service") {
        let pods = pod_objects(record, &store, cluster, &service.namespace);
        wanted.extend(service::endpoint_slices(&service, &pods));
    }
    for slice in &wanted {
        store.put_value(slice)?;
    }
    let kept = |old: &Object| {
        wanted.iter().any(|new| new["metadata"]["name"] == *old.name && new["metadata"]["namespace"] == *old.namespace)
    };
    let own = "endpointslice-controller.k8s.io";
    let managed = |old: &Object| {
        let labels = old.value.pointer("/metadata/labels");
        labels.is_some_and(|labels| labels["endpointslice.kubernetes.io/managed-by"] == own)
    };
    for old in store.all("EndpointSlice").iter().filter(|old| managed(old) && !kept(old)) {
        store.remove_object(&old.namespace, &old.kind, &old.name)?;
    }
    Ok(())
}

/// The objects of the pods that are to stay.
fn pod_objects(record: &Record, store: &Store, cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let known = |object: &Object| {
        record
            .pods
            .iter()
            .any(|pod| pod.cluster == cluster.name && pod.namespace == object.namespace && pod.name == object.name)
    };
    let pods = store.all("Pod").into_iter().filter(|pod| pod.namespace == namespace && known(pod));
    pods.map(|pod| pod.value).collect()
}

/// `/etc/hosts` of every pod, rewritten in place: the pods' processes hold a bind mount of the file itself.
pub fn write_hosts(record: &Record) -> Result<()> {
    let mut all = Vec::new();
    for cluster in &record.topology.clusters {
        let store = Store::open(record.manifests(&cluster.name))?;
        for service in store.all("Service") {
            all.push(Named {
                cluster: cluster.name.clone(),
                addresses: addresses(record, &store, cluster, &service),
                namespace: service.namespace,
                name: service.name,
            });
        }
    }
    for pod in record.pods.iter().filter(|pod| !is_on_host(record, pod)) {
        let text = hosts::file(&pod.cluster, &pod.namespace, (&pod.name, &pod.v4.to_string()), &all);
        hosts::write_in_place(&pod.netns, &text)?;
    }
    Ok(())
}

fn addresses(record: &Record, store: &Store, cluster: &Cluster, service: &Object) -> Vec<String> {
    // The cluster's DNS answers with another name, whose addresses these are.
    if service.text("/spec/type") == "ExternalName" {
        let named = service.text("/spec/externalName");
        let meant = |one: &Object| named == format!("{}.{}.svc.cluster.local", one.name, one.namespace);
        let target =
            store.all("Service").into_iter().find(|one| meant(one) && one.text("/spec/type") != "ExternalName");
        return target.map_or_else(Vec::new, |target| addresses(record, store, cluster, &target));
    }
    if service.text("/spec/clusterIP") != "None" {
        return service::addresses(&service.value);
    }
    // A headless service is its pods.
    let pods = pod_objects(record, store, cluster, &service.namespace);
    let selected = pods.iter().filter(|pod| service::selects(&service.value, pod));
    selected.filter_map(|pod| pod.pointer("/status/podIP")?.as_str().map(str::to_owned)).collect()
}

/// Whether a pod has its node's network (`hostNetwork`).
pub fn is_on_host(record: &Record, pod: &PodRecord) -> bool {
    pod.netns == record.node_netns(&pod.cluster, &pod.node)
}
