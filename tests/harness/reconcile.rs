//! From the objects of a store to running pods: what scheduler, kubelet and controllers do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::container::Pod;
use crate::desired::{Desired, desired, fitting_nodes, letters};
use crate::network;
use crate::objects;
use crate::process;
use crate::publish::{is_on_host, write_hosts, write_slices};
use crate::record::{PodRecord, Record};
use crate::service;
use crate::store::Store;
use crate::topology::{Cluster, Node};

/// How long an application may take until it listens on its declared ports.
const STARTUP: Duration = Duration::from_secs(10);

/// Time between the end of a Pod object and the end of its processes, in which agents say farewell.
const FAREWELL: Duration = Duration::from_millis(150);

/// Brings every cluster to what its objects ask for.
///
/// # Errors
/// A namespace, link, process or file cannot be made or removed.
pub fn reconcile(record: &mut Record) -> Result<()> {
    let topology = record.topology.clone();
    let mut surplus = Vec::new();
    let mut fresh = Vec::new();
    let mut wishes = BTreeMap::new();
    for cluster in &topology.clusters {
        let store = Store::open(record.manifests(&cluster.name))?;
        write_basics(record, &store, cluster)?;
        let wanted = desired(&store, cluster);
        surplus.extend(match_pods(record, cluster, &wanted, &mut fresh)?);
        wishes.insert(cluster.name.clone(), wanted);
    }
    record.pods.retain(|pod| !surplus.iter().any(|gone: &PodRecord| gone.netns == pod.netns && gone.name == pod.name));
    make_namespaces(record, &fresh)?;
    record.pods.extend(fresh);
    record.save()?;
    write_hosts(record)?;
    start_pods(record, &wishes)?;
    record.save()?;
    for cluster in &topology.clusters {
        write_slices(record, cluster)?;
    }
    write_hosts(record)?;
    remove_pods(record, &surplus)
}

/// Nodes, and the namespaces that nobody wrote a manifest for.
fn write_basics(record: &Record, store: &Store, cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        store.put_value(&objects::node(record, &cluster.name, node).context("a node without number")?)?;
    }
    let mut names = store.namespaces();
    names.push("default".to_owned());
    for name in names {
        if !store.path("", "Namespace", &name).exists() {
            store.put_value(&objects::namespace(&name))?;
        }
    }
    Ok(())
}

/// Sorts a cluster's pods: returns those to remove, adds those to make.
fn match_pods(
    record: &mut Record,
    cluster: &Cluster,
    wanted: &[Desired],
    fresh: &mut Vec<PodRecord>,
) -> Result<Vec<PodRecord>> {
    let mut left: Vec<PodRecord> = record.pods.iter().filter(|pod| pod.cluster == cluster.name).cloned().collect();
    let mut turn = 0;
    for desired in wanted {
        for place in &desired.places {
            let same = |pod: &PodRecord| {
                pod.owner == desired.owner
                    && pod.namespace == desired.namespace
                    && pod.hash == desired.hash
                    && (!desired.owner.is_empty() || pod.name == desired.base)
                    && place.as_ref().is_none_or(|place| *place == pod.node)
            };
            turn += 1;
            match left.iter().position(same) {
                Some(found) => drop(left.swap_remove(found)),
                None => fresh.extend(new_pod(record, cluster, desired, (place.as_deref(), turn - 1))?),
            }
        }
    }
    Ok(left)
}

fn new_pod(
    record: &mut Record,
    cluster: &Cluster,
    desired: &Desired,
    (place, turn): (Option<&str>, usize),
) -> Result<Option<PodRecord>> {
    let fitting = fitting_nodes(&desired.template, cluster);
    let node = match place {
        Some(place) => place.to_owned(),
        None if fitting.is_empty() => return Ok(None),
        None => fitting[turn % fitting.len()].name.clone(),
    };
    let n = record.node_number(&cluster.name, &node).context("a node without number")?;
    let name = match desired.owner.as_str() {
        "" => desired.base.clone(),
        _ => format!("{}-{}-{}", desired.base, desired.hash, letters(fastrand::u64(..), 5)),
    };
    let plan = record.plan();
    let on_host = desired.template.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    let (netns, v4, v6) = if on_host {
        (record.node_netns(&cluster.name, &node), plan.node_v4(n), plan.node_v6(n))
    } else {
        let host = free_host(record, n)?;
        (pod_netns(record, cluster, desired, &name), plan.pod_v4(n, host), plan.pod_v6(n, host))
    };
    Ok(Some(PodRecord {
        cluster: cluster.name.clone(),
        namespace: desired.namespace.clone(),
        name,
        owner: desired.owner.clone(),
        hash: desired.hash.clone(),
        app: desired.template.pointer("/metadata/labels/app").and_then(Value::as_str).unwrap_or_default().to_owned(),
        node,
        netns,
        v4,
        v6,
        made: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        containers: Vec::new(),
    }))
}

fn pod_netns(record: &Record, cluster: &Cluster, desired: &Desired, name: &str) -> String {
    format!("up-{}-pod-{}-{}-{name}", record.name, cluster.name, desired.namespace)
}

/// The next address of a node that no pod has.
fn free_host(record: &mut Record, n: u8) -> Result<u8> {
    let plan = record.plan();
    let last = record.last_host.get(&n).copied().unwrap_or(1);
    let mut candidates = (last.saturating_add(1)..=254).chain(2..=last);
    let host = candidates.find(|host| !record.pods.iter().any(|pod| pod.v4 == plan.pod_v4(n, *host)));
    let host = host.context("a node has 253 pods at most")?;
    record.last_host.insert(n, host);
    Ok(host)
}

fn make_namespaces(record: &Record, pods: &[PodRecord]) -> Result<()> {
    let own: Vec<&PodRecord> = pods.iter().filter(|pod| !is_on_host(record, pod)).collect();
    for pod in &own {
        network::remove_netns(&pod.netns)?;
    }
    network::make_pods(record, &own)
}

/// Starts what does not run, and writes the Pod objects: not ready, then ready.
fn start_pods(record: &mut Record, wishes: &BTreeMap<String, Vec<Desired>>) -> Result<()> {
    let mut waiting = Vec::new();
    for i in 0..record.pods.len() {
        let pod = record.pods[i].clone();
        let Some((desired, node)) = wish(record, wishes, &pod) else {
            continue;
        };
        let store = Store::open(record.manifests(&pod.cluster))?;
        let services = selecting(&store, &pod, &objects::pod(&desired, &pod, &node, false));
        let alive = |record: &Record| pod.containers.iter().all(|c| process::is_alive(&record.name, c.pid));
        let running = !pod.containers.is_empty() && alive(record);
        let object = objects::pod(&desired, &pod, &node, running);
        let start = Pod { record, pod: &pod, object: &object, services: &services };
        store.put_value(&object)?;
        if running {
            start.write_ports()?;
            continue;
        }
        let pids: Vec<u32> = pod.containers.iter().map(|container| container.pid).collect();
        process::end(&record.name, &pids, Duration::from_secs(1));
        let containers = start.start()?;
        let ports = start.declared_ports();
        record.pods[i].containers = containers;
        waiting.push((i, desired, node, ports));
    }
    let deadline = Instant::now() + STARTUP;
    for (i, desired, node, ports) in waiting {
        let pod = &record.pods[i];
        if !wait_listening(record, pod, &ports, deadline) {
            eprintln!("warning: {}/{}/{} does not listen on {ports:?} yet", pod.cluster, pod.namespace, pod.name);
        }
        let store = Store::open(record.manifests(&pod.cluster))?;
        store.put_value(&objects::pod(&desired, pod, &node, true))?;
    }
    Ok(())
}

fn wish(record: &Record, wishes: &BTreeMap<String, Vec<Desired>>, pod: &PodRecord) -> Option<(Desired, Node)> {
    let fits = |desired: &&Desired| {
        desired.owner == pod.owner
            && desired.namespace == pod.namespace
            && (!pod.owner.is_empty() || desired.base == pod.name)
    };
    let desired = wishes.get(&pod.cluster)?.iter().find(fits)?;
    let node = record.topology.cluster(&pod.cluster)?.nodes.iter().find(|node| node.name == pod.node)?;
    Some((desired.clone(), node.clone()))
}

fn selecting(store: &Store, pod: &PodRecord, object: &Value) -> Vec<Value> {
    let services = store.all("Service").into_iter().filter(|service| service.namespace == pod.namespace);
    services.map(|service| service.value).filter(|service| service::selects(service, object)).collect()
}

fn wait_listening(record: &Record, pod: &PodRecord, ports: &[u16], deadline: Instant) -> bool {
    let pids = || pod.containers.iter().map(|container| container.pid);
    loop {
        let open = pids().next().map(process::listening).unwrap_or_default();
        if ports.iter().all(|port| open.contains(port)) {
            return true;
        }
        if Instant::now() > deadline || !pids().all(|pid| process::is_alive(&record.name, pid)) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Object first, then the processes, then the namespace.
fn remove_pods(record: &Record, pods: &[PodRecord]) -> Result<()> {
    if pods.is_empty() {
        return Ok(());
    }
    for pod in pods {
        let store = Store::open(record.manifests(&pod.cluster))?;
        store.remove_object(&pod.namespace, "Pod", &pod.name)?;
    }
    std::thread::sleep(FAREWELL);
    let pids: Vec<u32> = pods.iter().flat_map(|pod| pod.containers.iter().map(|container| container.pid)).collect();
    process::end(&record.name, &pids, Duration::from_secs(2));
    for pod in pods.iter().filter(|pod| !is_on_host(record, pod)) {
        end_strays(record, &pod.netns);
        network::remove_netns(&pod.netns)?;
        let _ = std::fs::remove_dir_all(record.dir().join("pods").join(&pod.netns));
    }
    Ok(())
}

/// What `lab exec` left running in a pod, and children of its processes.
fn end_strays(record: &Record, netns: &str) {
    let listed = crate::run::run(std::process::Command::new("ip").args(["netns", "pids", netns])).unwrap_or_default();
    let pids: Vec<u32> = listed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    process::end(&record.name, &pids, Duration::from_secs(1));
}
