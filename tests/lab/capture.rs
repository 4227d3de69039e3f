//! Who is captured and who is not, what applications see, and what is left when a pod is let go.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use serde_json::Value;
use underpass_tests::run::run;
use underpass_tests::store::Store;
use underpass_tests::{Lab, PodRecord, clean, process, until};

use crate::leaks_count::Held;
use crate::scene::{
    Pod, SOON, answering, apply, apply_to, ask, assert_echoed, assert_held, client, finish, hold, http, lab, number,
    reachable, service, sleeping, tcp, tcp_load, through,
};

const CLIENT: &str = "east/default/client";

/// A namespace whose pods nobody captures.
const OUTSIDE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: outside}\n";
const ENROLLED: &str =
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: outside, labels: {istio.io/dataplane-mode: ambient}}\n";

#[test]
fn capture() {
    let mut lab = lab(
        "lbcap",
        "clusters:\n- {name: east, nodes: [{name: e1}, {name: e2}]}\n- {name: west, nodes: [{name: w1}]}\n",
    );
    let pod = |name, node, container| Pod { name, app: name, version: "v1", node, container }.text();
    let outside = |text: String| text.replace("metadata: {name: ", "metadata: {namespace: outside, name: ");
    let host = pod("host", "e1", sleeping()).replace("spec:\n", "spec:\n  hostNetwork: true\n");
    let east = [
        client("client", "e1") + &pod("near", "e1", http(8080)) + &pod("far", "e2", http(8080)),
        service("far", "http", 8080) + &pod("lines", "e2", tcp(9000, "lines")) + &host,
        format!("---\n{OUTSIDE}") + &outside(client("stranger", "e1")),
        outside(pod("stranger-lines", "e2", tcp(9000, "outside"))),
    ];
    apply(&mut lab, &east.concat());
    apply_to(&mut lab, "west", &(service("west", "http", 8080) + &pod("west", "w1", http(8080))));
    through(
        lab,
        &[
            ("applications see the client pod's address", source_addresses),
            ("getpeername says what was connected to", peer_names),
            ("a pod without the label is untouched", untouched),
            ("hostNetwork is not captured", host_network),
            ("no capability, no packet filter", nothing_special),
            ("a pod enrolled while it runs keeps its connection, and let go leaves nothing", enrolled_live),
        ],
    );
}

fn ips(pod: &PodRecord) -> [IpAddr; 2] {
    [pod.v4.into(), pod.v6.into()]
}

fn client_of(answer: &Value) -> IpAddr {
    answer["client"].as_str().unwrap().parse::<SocketAddr>().unwrap().ip()
}

fn source_addresses(lab: &mut Lab) {
    let client = lab.pod(CLIENT).unwrap().clone();
    for (server, tunnel) in [
        ("east/default/near", Value::Null),
        ("east/default/far", "underpass/1".into()),
        ("west/default/west", "underpass/1".into()),
    ] {
        for (to, from) in ips(lab.pod(server).unwrap()).into_iter().zip(ips(&client)) {
            let to = SocketAddr::new(to, 8080);
            answering(lab, CLIENT, &format!("http://{to}/"));
            let answer = ask(lab, CLIENT, &format!("http://{to}/"));
            assert_eq!((client_of(&answer), &answer["local"]), (from, &to.to_string().into()), "{server}");
            let line = until("a line of the access log", SOON, || logged(lab, CLIENT, &to)).unwrap();
            assert_eq!(line["tunnel"], tunnel, "{line:#}");
            assert_eq!(line["src.addr"].as_str().unwrap().parse::<SocketAddr>().unwrap().ip(), from, "{line:#}");
        }
    }
}

/// The newest line of the agent of a pod about a connection of it to that address.
fn logged(lab: &Lab, pod: &str, to: &SocketAddr) -> Option<Value> {
    let lines = lab.agent_of(pod).unwrap().access_log();
    let name = pod.split_once('/').unwrap().1;
    lines.into_iter().rev().find(|line| line["pod"] == name && line["dst.original"] == to.to_string())
}

fn peer_names(lab: &mut Lab) {
    let vip = |family: &str| {
        let text = lab.exec_ok(CLIENT, &["getent", family, "far"]).unwrap();
        text.split_whitespace().next().unwrap().parse::<IpAddr>().unwrap()
    };
    let pod = ips(lab.pod("east/default/far").unwrap());
    for ip in [vip("ahostsv4"), vip("ahostsv6"), pod[0], pod[1]] {
        let to = SocketAddr::new(ip, 8080).to_string();
        let seen = lab.client(CLIENT, &["connect", "--address", &to]).unwrap();
        assert_eq!(seen["getpeername"], to, "{seen:#}");
    }
}

fn untouched(lab: &mut Lab) {
    let stranger = lab.pod("east/outside/stranger").unwrap().clone();
    assert_eq!(traces(&stranger), traces_of_nothing(), "a pod that nobody captures");
    let target = lab.pod("east/outside/stranger-lines").unwrap().v4;
    assert_echoed(&tcp_load(lab, "east/outside/stranger", &format!("{target}:9000"), 3), 3);
    // Into the mesh it comes as plaintext, and is seen as who it is.
    let far = lab.pod("east/default/far").unwrap().v4;
    let answer = ask(lab, "east/outside/stranger", &format!("http://{far}:8080/"));
    assert_eq!(client_of(&answer), IpAddr::V4(stranger.v4));
    for agent in lab.agents() {
        assert!(!agent.admin("/pods").unwrap().to_string().contains("outside/"), "{}", agent.record.node);
        let own = |line: &Value| line["pod"].as_str().is_some_and(|pod| pod.starts_with("outside/"));
        assert!(!agent.access_log().iter().any(own), "{}", agent.record.node);
    }
}

fn host_network(lab: &mut Lab) {
    let host = lab.pod("east/default/host").unwrap().clone();
    let far = lab.pod("east/default/far").unwrap().v4;
    let answer = ask(lab, "east/default/host", &format!("http://{far}:8080/"));
    assert_eq!(client_of(&answer), IpAddr::V4(host.v4), "{answer:#}");
    let agent = lab.agent("east", "e1").unwrap();
    assert!(!agent.admin("/pods").unwrap().to_string().contains("default/host"));
    assert!(!agent.access_log().iter().any(|line| line["pod"] == "default/host"));
}

fn nothing_special(lab: &mut Lab) {
    for container in lab.record.pods.iter().flat_map(|pod| &pod.containers) {
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).unwrap();
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{}: {line}", container.command);
        }
    }
    for netns in clean::namespaces(&lab.record.name) {
        let rules = inside(&netns, &["nft", "list", "ruleset"]);
        assert_eq!(rules.trim(), "", "in {netns}");
    }
}

fn enrolled_live(lab: &mut Lab) {
    const POD: &str = "east/outside/stranger";
    let pod = lab.pod(POD).unwrap().clone();
    let agent = lab.agent_of(POD).unwrap();
    let target = format!("{}:9000", lab.pod("east/default/lines").unwrap().v4);
    let before = Held::of(&agent);
    let held = hold(lab, POD, &target, "2");
    apply(lab, ENROLLED);
    let captured = |want: bool| until("/pods says so", SOON, || (is_captured(lab, &pod) == want).then_some(()));
    captured(true).unwrap();
    let unmanaged = agent.admin("/pods").unwrap();
    let row = unmanaged.as_array().unwrap().iter().find(|row| row["pod"] == "outside/stranger").unwrap();
    assert_eq!(row["unmanaged"].as_array().map(Vec::len), Some(1), "the held connection: {row:#}");
    assert_ne!(traces(&pod), traces_of_nothing());
    assert_echoed(&tcp_load(lab, POD, &target, 3), 3);
    let line = until("it is logged", SOON, || logged(lab, POD, &target.parse().unwrap())).unwrap();
    assert_eq!(line["src.identity"], "spiffe://cluster.local/ns/outside/sa/stranger", "{line:#}");
    assert_held(&finish(held), 20);

    // Let go, by its own label, while a connection through the mesh is open.
    let held = hold(lab, POD, &target, "2");
    label(lab, "outside", "stranger", "istio.io/dataplane-mode", "none");
    captured(false).unwrap();
    until("nothing is left in its namespace", SOON, || (traces(&pod) == traces_of_nothing()).then_some(()))
        .unwrap_or_else(|_| panic!("{:#?}", traces(&pod)));
    let seen = finish(held);
    let ended_cleanly = seen["error"].is_null() || seen["error"] == "closed by the peer";
    assert!(ended_cleanly && number(&seen["echoed"]) > 0, "{seen:#}");
    reachable(lab, POD, &target);
    let lines = agent.access_log().len();
    assert_echoed(&tcp_load(lab, POD, &target, 3), 3);
    assert_eq!(agent.access_log().len(), lines, "the pod's agent sees it no more");
    before.again(&agent);
}

fn is_captured(lab: &Lab, pod: &PodRecord) -> bool {
    let rows = lab.agent(&pod.cluster, &pod.node).unwrap().admin("/pods").unwrap();
    let name = format!("{}/{}", pod.namespace, pod.name);
    rows.as_array().unwrap().iter().any(|row| row["pod"] == name && row["captured"] == true)
}

/// As `kubectl label pod` does it.
fn label(lab: &Lab, namespace: &str, pod: &str, key: &str, value: &str) {
    let store = Store::open(lab.record.manifests("east")).unwrap();
    let mut pods = store.all("Pod").into_iter();
    let mut object = pods.find(|object| object.namespace == namespace && object.name == pod).unwrap().value;
    object["metadata"]["labels"][key] = value.into();
    store.put_value(&object).unwrap();
}

/// What capture puts into a pod's namespace.
fn traces(pod: &PodRecord) -> Vec<String> {
    let rules = |family: &str| {
        let text = inside(&pod.netns, &["ip", family, "rule"]);
        let own = text.lines().filter(|line| !["local", "main", "default"].iter().any(|table| line.ends_with(table)));
        own.map(str::to_owned).collect::<Vec<_>>()
    };
    let routes = |family: &str| {
        let all = inside(&pod.netns, &["ip", family, "route", "show", "table", "all"]);
        all.lines().filter(|line| line.contains("table 100")).map(str::to_owned).collect::<Vec<_>>()
    };
    let names =
        ["net.ipv4.tcp_fwmark_accept", "net.ipv4.fwmark_reflect", "net.ipv6.fwmark_reflect", "net.ipv4.tcp_tw_reuse"];
    let sysctls = inside(&pod.netns, &[&["sysctl"], &names[..]].concat());
    let open = process::listening(pod.containers[0].pid);
    let listeners = [15001, 15006].into_iter().filter(|port| open.contains(port)).map(|port| port.to_string());
    [rules("-4"), rules("-6"), routes("-4"), routes("-6"), sysctls.lines().map(str::to_owned).collect()]
        .concat()
        .into_iter()
        .chain(listeners)
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The kernel's defaults.
fn traces_of_nothing() -> Vec<String> {
    let defaults = [
        "net.ipv4.tcp_fwmark_accept = 0",
        "net.ipv4.fwmark_reflect = 0",
        "net.ipv6.fwmark_reflect = 0",
        "net.ipv4.tcp_tw_reuse = 2",
    ];
    defaults.map(str::to_owned).to_vec()
}

fn inside(netns: &str, words: &[&str]) -> String {
    let mut command = Command::new("nsenter");
    run(command.arg(format!("--net=/run/netns/{netns}")).args(words)).unwrap_or_else(|error| panic!("{error:#}"))
}
