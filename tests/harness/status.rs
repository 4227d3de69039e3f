//! `lab status`: what there is, for people and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::process;

/// Everything, as JSON: `{name, clusters: [{name, nodes}], pods: [...], agents: [...]}`.
pub fn json(lab: &Lab) -> Value {
    json!({
        "name": lab.record.name,
        "state_dir": lab.record.dir(),
        "clusters": clusters(lab),
        "pods": pods(lab),
        "agents": agents(lab),
    })
}

fn clusters(lab: &Lab) -> Vec<Value> {
    let record = &lab.record;
    let node = |cluster: &str, name: &str| {
        let n = record.node_number(cluster, name).unwrap_or(0);
        json!({"name": name, "netns": record.node_netns(cluster, name), "address": record.plan().node_v4(n),
            "addresses": [record.plan().node_v4(n).to_string(), record.plan().node_v6(n).to_string()],
            "pod_cidrs": [format!("{}/24", record.plan().pod_v4(n, 0)), format!("{}/64", record.plan().pod_v6(n, 0))]})
    };
    let all = record.topology.clusters.iter().map(|cluster| {
        let nodes: Vec<Value> = cluster.nodes.iter().map(|n| node(&cluster.name, &n.name)).collect();
        json!({"name": cluster.name, "manifests": record.manifests(&cluster.name),
            "cacerts": record.cacerts(&cluster.name), "nodes": nodes})
    });
    all.collect()
}

fn pods(lab: &Lab) -> Vec<Value> {
    let pod =
        |pod: &crate::PodRecord| {
            let containers: Vec<Value> = pod.containers.iter().map(|container| {
            json!({"name": container.name, "pid": container.pid, "log": container.log, "command": container.command,
                "alive": process::is_alive(&lab.record.name, container.pid)})
        }).collect();
            json!({"cluster": pod.cluster, "namespace": pod.namespace, "name": pod.name, "app": pod.app,
            "owner": pod.owner, "node": pod.node, "netns": pod.netns,
            "address": pod.v4, "addresses": [pod.v4.to_string(), pod.v6.to_string()],
            "pid": pod.containers.first().map(|c| c.pid), "log": pod.containers.first().map(|c| &c.log),
            "containers": containers})
        };
    lab.record.pods.iter().map(pod).collect()
}

fn agents(lab: &Lab) -> Vec<Value> {
    let all = lab.agents().into_iter().map(|agent| {
        json!({"cluster": agent.record.cluster, "node": agent.record.node, "netns": agent.record.netns,
            "pid": agent.record.pid, "alive": process::is_alive(&agent.lab, agent.record.pid),
            "ready": agent.is_ready(),
            "admin": agent.address(15000).to_string(), "metrics": agent.address(15020).to_string(),
            "health": agent.address(15021).to_string(), "log": agent.record.log, "args": agent.record.args})
    });
    all.collect()
}

/// The same as a table.
pub fn text(lab: &Lab) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "lab {} in {}", lab.record.name, lab.record.dir().display());
    for cluster in &lab.record.topology.clusters {
        let _ = writeln!(text, "\ncluster {}", cluster.name);
        for node in &cluster.nodes {
            let _ = writeln!(text, "  node {}  netns {}", node.name, lab.record.node_netns(&cluster.name, &node.name));
        }
        for agent in lab.agents().iter().filter(|agent| agent.record.cluster == cluster.name) {
            let state = if agent.is_ready() { "ready" } else { "NOT READY" };
            let _ = writeln!(
                text,
                "  agent {} {state}  pid {}  admin {}  metrics {}  log {}",
                agent.record.node,
                agent.record.pid,
                agent.address(15000),
                agent.address(15020),
                agent.record.log.display()
            );
        }
        for pod in lab.record.pods.iter().filter(|pod| pod.cluster == cluster.name) {
            let pid = pod.containers.first().map_or(0, |container| container.pid);
            let state = if process::is_alive(&lab.record.name, pid) { "running" } else { "ENDED" };
            let name = format!("{}/{}", pod.namespace, pod.name);
            let _ = writeln!(text, "  pod {name:44} {state}  {:12} {:10} pid {pid}", pod.v4, pod.node);
        }
    }
    text
}
