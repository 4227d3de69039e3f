//! Nodes and pods as network namespaces: a veth and a bridge for each node, a fabric between them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::plan::{FIRST_BLOCK, LAST_BLOCK};
use crate::record::{PodRecord, Record};
use crate::run::{ip_batch, run};

/// Name of the root namespace's link to a lab's fabric (IFNAMSIZ: 15 bytes).
pub fn root_link(lab: &str) -> String {
    let mut name = format!("up-{lab}");
    name.truncate(15);
    name
}

/// A block of addresses that no route of the root namespace touches.
///
/// # Errors
/// None is free.
pub fn free_block(own: bool) -> Result<u8> {
    let routes = run(Command::new("ip").args(["-4", "route", "show", "table", "all"]))?;
    let taken: BTreeSet<u8> = routes
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("10.")?.split('.').next()?.parse().ok())
        .collect();
    let first = if own { FIRST_BLOCK } else { FIRST_BLOCK + 2 };
    let mut blocks = (first..=LAST_BLOCK).step_by(2);
    blocks.find(|b| !taken.contains(b) && !taken.contains(&(b + 1))).context("no free addresses below 10.66-10.126")
}

/// Makes the fabric and every node.
///
/// # Errors
/// `ip` refuses: the message holds its line.
pub fn make_nodes(record: &Record) -> Result<()> {
    let nodes: Vec<(u8, String)> = numbered(record);
    let fabric = record.fabric_netns();
    let root = root_link(&record.name);
    let mut lines = vec![format!("netns add {fabric}")];
    lines.extend(nodes.iter().map(|(_, netns)| format!("netns add {netns}")));
    lines.push(format!("link add {root} type veth peer name root netns {fabric}"));
    for (n, netns) in &nodes {
        lines.push(format!("link add eth0 netns {netns} type veth peer name node{n} netns {fabric}"));
    }
    ip_batch(None, &lines)?;
    make_fabric(&fabric, &nodes)?;
    for (n, netns) in &nodes {
        make_node(record, *n, netns, &nodes)?;
    }
    join_root(record, &root, &nodes)
}

fn numbered(record: &Record) -> Vec<(u8, String)> {
    let all = record.topology.clusters.iter().flat_map(|c| c.nodes.iter().map(move |n| (&c.name, &n.name)));
    (1..).zip(all.map(|(cluster, node)| record.node_netns(cluster, node))).collect()
}

fn make_fabric(fabric: &str, nodes: &[(u8, String)]) -> Result<()> {
    let mut lines = vec!["link set lo up".to_owned(), "link add br0 type bridge".to_owned()];
    lines.push("link set br0 up".to_owned());
    lines.push("link set root master br0 up".to_owned());
    lines.extend(nodes.iter().map(|(n, _)| format!("link set node{n} master br0 up")));
    ip_batch(Some(fabric), &lines)
}

fn make_node(record: &Record, n: u8, netns: &str, nodes: &[(u8, String)]) -> Result<()> {
    let plan = record.plan();
    let forward = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    sysctl(netns, &forward)?;
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {}/24 dev eth0", plan.node_v4(n)),
        format!("addr add {}/64 dev eth0 nodad", plan.node_v6(n)),
        // A bridge without an address of its own takes its ports', which come and go: pods would send to one that was.
        format!("link add pods address 02:00:0a:{:02x}:{n:02x}:01 type bridge", plan.block),
        "link set pods up".to_owned(),
        format!("addr add {}/24 dev pods", plan.pod_v4(n, 1)),
        format!("addr add {}/64 dev pods nodad", plan.pod_v6(n, 1)),
    ];
    for (other, _) in nodes.iter().filter(|(other, _)| *other != n) {
        lines.extend(pod_routes(record, *other, "eth0"));
    }
    ip_batch(Some(netns), &lines)
}

fn pod_routes(record: &Record, n: u8, dev: &str) -> [String; 2] {
    let plan = record.plan();
    [
        format!("route add {}/24 via {} dev {dev}", plan.pod_v4(n, 0), plan.node_v4(n)),
        format!("route add {}/64 via {} dev {dev}", plan.pod_v6(n, 0), plan.node_v6(n)),
    ]
}

fn join_root(record: &Record, link: &str, nodes: &[(u8, String)]) -> Result<()> {
    let plan = record.plan();
    let mut lines = vec![
        format!("link set {link} up"),
        format!("addr add {}/24 dev {link}", plan.root_v4()),
        format!("addr add {}/64 dev {link} nodad", plan.root_v6()),
    ];
    lines.extend(nodes.iter().flat_map(|(n, _)| pod_routes(record, *n, link)));
    ip_batch(None, &lines)
}

/// Makes the network namespaces of pods and their links; `number` gives a pod's node number.
///
/// # Errors
/// `ip` refuses: the message holds its line.
pub fn make_pods(record: &Record, pods: &[&PodRecord]) -> Result<()> {
    let mut root = Vec::new();
    for pod in pods {
        let node = record.node_netns(&pod.cluster, &pod.node);
        let link = pod_link(pod);
        root.push(format!("netns add {}", pod.netns));
        root.push(format!("link add eth0 netns {} type veth peer name {link} netns {node}", pod.netns));
    }
    ip_batch(None, &root)?;
    for pod in pods {
        make_pod(record, pod)?;
    }
    Ok(())
}

fn make_pod(record: &Record, pod: &PodRecord) -> Result<()> {
    let n = record.node_number(&pod.cluster, &pod.node).context("the pod's node is gone")?;
    let plan = record.plan();
    // A pod has no capability, also not for ports below 1024; containerd sets this sysctl for the same reason.
    sysctl(&pod.netns, &["net.ipv4.ip_unprivileged_port_start=0"])?;
    let node = record.node_netns(&pod.cluster, &pod.node);
    ip_batch(Some(&node), &[format!("link set {} master pods up", pod_link(pod))])?;
    let lines = [
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {}/24 dev eth0", pod.v4),
        format!("addr add {}/64 dev eth0 nodad", pod.v6),
        format!("route add default via {}", plan.pod_v4(n, 1)),
        format!("route add ::/0 via {}", plan.pod_v6(n, 1)),
    ];
    ip_batch(Some(&pod.netns), &lines)
}

fn pod_link(pod: &PodRecord) -> String {
    format!("pod{}", pod.v4.octets()[3])
}

/// Removes a network namespace with its links and its files; nothing to do where it is gone.
///
/// # Errors
/// `ip` refuses.
pub fn remove_netns(name: &str) -> Result<()> {
    if Path::new("/run/netns").join(name).exists() {
        run(Command::new("ip").args(["netns", "del", name]))?;
    }
    let files = Path::new("/etc/netns").join(name);
    if files.exists() {
        fs::remove_dir_all(&files).with_context(|| files.display().to_string())?;
    }
    Ok(())
}

// `sysctl -w` through `ip netns exec`, because /proc/sys/net shows the caller's namespace.
fn sysctl(netns: &str, settings: &[&str]) -> Result<()> {
    run(Command::new("ip").args(["netns", "exec", netns, "sysctl", "-qw"]).args(settings))?;
    Ok(())
}
