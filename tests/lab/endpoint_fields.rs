//! Which endpoint takes a request or a connection: DestinationRule's `loadBalancer` and `outlierDetection`, with nodes
//! of several regions and zones.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use underpass_tests::{Lab, until};

use crate::scene::{
    Pod, SOON, answering, apply, assert_answered, assert_share, client, delete, destination_rule, http, lab, load,
    moody, number, service, sleeping, start, tcp, tcp_load, through, virtual_service,
};

const CLIENT: &str = "east/default/client-0";
const NEAR: &str = "http://near:8080";
/// Without it locality does not decide, as in Istio.
const JUDGED: &str = "outlierDetection: {consecutive5xxErrors: 3}";
/// Only the clients' node has an agent: the others' pods are outside the mesh and reached in plaintext.
const TOPOLOGY: &str = "
clusters:
- name: east
  nodes:
  - {name: a1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
  - {name: a2, agent: false, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z2}}
  - {name: b1, agent: false, labels: {topology.kubernetes.io/region: r2, topology.kubernetes.io/zone: z3}}
  - {name: c1, agent: false, labels: {topology.kubernetes.io/region: r3, topology.kubernetes.io/zone: z4}}
";

/// An endpoint of `near`, named after its node.
fn near(node: &str) -> String {
    Pod { name: &format!("near-{node}"), app: "near", version: node, node, container: http(8080) }.text()
}

#[test]
fn endpoint_fields() {
    let mut lab = lab("lbends", TOPOLOGY);
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let clients: String = (0..6).map(|n| client(&format!("client-{n}"), "a1")).collect();
    let flag = flag(&lab).display().to_string();
    let scene = [
        clients + &service("near", "http", 8080) + &["a1", "a2", "b1", "c1"].map(near).concat(),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: direct}\nspec:\n  clusterIP: None\n  selector: {app: near}\n  \
         ports: [{name: http, port: 8080}]\n"
            .to_owned(),
        service("uneven", "http", 8080) + &pod("uneven-1", "uneven", "quick", "a2", moody("quick", "0", "")),
        pod("uneven-2", "uneven", "slow", "a2", moody("slow", "0.1", "")),
        service("sick", "http", 8080) + &pod("sick-1", "sick", "well", "a1", moody("well", "0", "")),
        pod("sick-2", "sick", "ill", "a2", moody("ill", "0", &flag)),
        service("lines", "tcp", 9000) + &pod("lines-1", "lines", "v1", "a1", tcp(9000, "alive")),
        pod("lines-2", "lines", "v2", "a2", sleeping()),
        service("fresh", "http", 8080) + &pod("fresh-1", "fresh", "old", "a1", http(8080)),
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, NEAR);
    through(
        lab,
        &[
            ("loadBalancer.simple: RANDOM", random),
            ("loadBalancer.simple: LEAST_REQUEST", least_request),
            ("loadBalancer.simple: PASSTHROUGH", passthrough),
            ("consistentHash: useSourceIp", source_ip),
            ("consistentHash: httpQueryParameterName, minimumRingSize, tableSize", query_parameter),
            ("warmup", warmup),
            ("localityLbSetting.distribute", distribute),
            ("localityLbSetting.failoverPriority", failover_priority),
            ("localityLbSetting.failover, and enabled", failover),
            ("outlierDetection of requests", outlier_of_requests),
            ("outlierDetection of connections", outlier_of_connections),
        ],
    );
}

/// While this file is there, one of the endpoints of `sick` is.
fn flag(lab: &Lab) -> PathBuf {
    lab.record.dir().join("sick")
}

/// How many of so many requests each version answered; all are answered.
fn spread(lab: &Lab, pod: &str, url: &str, count: u64, more: &[&str]) -> BTreeMap<String, u64> {
    let seen = load(lab, pod, url, &[&["--requests", &count.to_string()], more].concat());
    assert_answered(&seen, count);
    seen["by_version"].as_object().unwrap().iter().map(|(version, count)| (version.clone(), number(count))).collect()
}

/// Waits until these versions, and no other, answer.
fn only(lab: &Lab, url: &str, versions: &[&str]) {
    let wanted: BTreeSet<&str> = versions.iter().copied().collect();
    let mut last = BTreeMap::new();
    until(&format!("only {versions:?} answer"), SOON, || {
        last = spread(lab, CLIENT, url, 40, &[]);
        (last.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}, but {last:?}"));
}

fn random(lab: &mut Lab) {
    apply(lab, &destination_rule("near", "{loadBalancer: {simple: RANDOM}}"));
    std::thread::sleep(Duration::from_millis(300));
    let seen = spread(lab, CLIENT, NEAR, 400, &[]);
    for node in ["a1", "a2", "b1", "c1"] {
        assert_share(seen[node], 400, 0.25);
    }
}

fn least_request(lab: &mut Lab) {
    let slow = |lab: &Lab| {
        let seen = spread(lab, CLIENT, "http://uneven:8080", 300, &["--concurrency", "6"]);
        seen.get("slow").copied().unwrap_or_default()
    };
    // It is the default, too.
    for policy in ["{loadBalancer: {simple: LEAST_REQUEST}}", "{loadBalancer: {simple: RANDOM}}", "{}"] {
        apply(lab, &destination_rule("uneven", policy));
        std::thread::sleep(Duration::from_millis(300));
        let seen = slow(lab);
        match policy.contains("RANDOM") {
            true => assert_share(seen, 300, 0.5),
            false => assert!(seen < 90, "the slow one got {seen} of 300 under {policy}"),
        }
    }
}

fn passthrough(lab: &mut Lab) {
    // Whoever asks for a pod of the headless service is led to another service's endpoints, and to that one of them.
    let b1 = lab.pod("east/default/near-b1").unwrap().v4;
    let url = format!("http://{b1}:8080");
    apply(lab, &virtual_service("direct", "http: [{route: [{destination: {host: near}}]}]"));
    apply(lab, &destination_rule("near", "{loadBalancer: {simple: PASSTHROUGH}}"));
    only(lab, &url, &["b1"]);
    delete(lab, &virtual_service("direct", ""));
}

fn source_ip(lab: &mut Lab) {
    apply(lab, &destination_rule("near", "{loadBalancer: {consistentHash: {useSourceIp: true}}}"));
    let at = |n: u32| spread(lab, &format!("east/default/client-{n}"), NEAR, 20, &["--new-connection", "true"]);
    until("a client stays at one endpoint", SOON, || (at(0).len() == 1).then_some(())).unwrap();
    let all: Vec<_> = (0..6).map(at).collect();
    assert!(all.iter().all(|seen| seen.len() == 1), "{all:?}");
    let different: BTreeSet<_> = all.iter().flat_map(BTreeMap::keys).collect();
    assert!(different.len() > 1, "all clients at {different:?}");
}

fn query_parameter(lab: &mut Lab) {
    for table in ["", ", ringHash: {minimumRingSize: 4096}", ", maglev: {tableSize: 1009}"] {
        let policy = format!("{{loadBalancer: {{consistentHash: {{httpQueryParameterName: user{table}}}}}}}");
        apply(lab, &destination_rule("near", &policy));
        let at = |user: u32| spread(lab, CLIENT, &format!("{NEAR}/?user={user}"), 10, &["--new-connection", "true"]);
        until("a user stays at one endpoint", SOON, || ((0..3).all(|user| at(user).len() == 1)).then_some(())).unwrap();
        let all: Vec<_> = (0..40).map(at).collect();
        assert!(all.iter().all(|seen| seen.len() == 1), "{table} {all:?}");
        let different: BTreeSet<_> = all.iter().flat_map(BTreeMap::keys).collect();
        assert_eq!(different.len(), 4, "{table}: users are at {different:?}");
    }
}

fn warmup(lab: &mut Lab) {
    let policy = "{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 6s, minimumPercent: 5, aggression: 1}}}";
    apply(lab, &destination_rule("fresh", policy));
    only(lab, "http://fresh:8080", &["old"]);
    apply(lab, &Pod { name: "fresh-2", app: "fresh", version: "new", node: "a1", container: http(8080) }.text());
    let new =
        |lab: &Lab, count| spread(lab, CLIENT, "http://fresh:8080", count, &[]).get("new").copied().unwrap_or_default();
    until("the new one takes a request", SOON, || (new(lab, 20) > 0).then_some(())).unwrap();
    let early = new(lab, 200);
    assert!(early < 70, "the new one got {early} of 200 at once");
    until("it has its share in the end", SOON, || (new(lab, 100) > 40).then_some(())).unwrap();
}

fn locality(setting: &str, judged: &str) -> String {
    destination_rule(
        "near",
        &format!("{{{judged}, loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {setting}}}}}"),
    )
}

fn distribute(lab: &mut Lab) {
    let to = "{'r1/z1/*': 50, 'r1/z2/*': 20, 'r2/*': 30}";
    let setting = format!("{{distribute: [{{from: 'r9/*', to: {{'r3/*': 100}}}}, {{from: 'r1/z1/*', to: {to}}}]}}");
    apply(lab, &locality(&setting, JUDGED));
    only(lab, NEAR, &["a1", "a2", "b1"]);
    let seen = spread(lab, CLIENT, NEAR, 400, &[]);
    for (node, share) in [("a1", 0.5), ("a2", 0.2), ("b1", 0.3)] {
        assert_share(seen[node], 400, share);
    }
}

fn failover_priority(lab: &mut Lab) {
    let cases: [(&str, &[&str]); 5] = [
        ("[topology.kubernetes.io/region, topology.kubernetes.io/zone]", &["a1"]),
        ("[topology.kubernetes.io/region]", &["a1", "a2"]),
        ("['version=c1']", &["c1"]),
        ("['version=none']", &["a1", "a2", "b1", "c1"]),
        ("[topology.istio.io/cluster, 'version=b1']", &["b1"]),
    ];
    for (labels, nodes) in cases {
        apply(lab, &locality(&format!("{{failoverPriority: {labels}}}"), JUDGED));
        only(lab, NEAR, nodes);
    }
}

fn failover(lab: &mut Lab) {
    apply(lab, &locality("{enabled: true}", JUDGED));
    only(lab, NEAR, &["a1"]);
    apply(lab, &locality("{failover: [{from: r1, to: r3}]}", JUDGED));
    only(lab, NEAR, &["a1"]);
    // The nearest that is there: the zone, the region, the region that is named, the rest.
    for (gone, next) in [("a1", "a2"), ("a2", "c1"), ("c1", "b1")] {
        delete(lab, &near(gone));
        only(lab, NEAR, &[next]);
    }
    apply(lab, &["a1", "a2", "c1"].map(near).concat());
    only(lab, NEAR, &["a1"]);
    apply(lab, &locality("{enabled: false}", JUDGED));
    only(lab, NEAR, &["a1", "a2", "b1", "c1"]);
}

/// How many endpoints of a service are left out.
fn ejected(lab: &Lab, name: &str) -> usize {
    let snapshot = lab.agent_of(CLIENT).unwrap().admin("/snapshot").unwrap();
    let services = snapshot["services"].as_array().unwrap();
    let host = format!("{name}.default.svc.cluster.local");
    let ports = services.iter().find(|one| one["host"] == *host).unwrap()["ports"].as_array().unwrap().clone();
    let ruled = ports.iter().flat_map(|port| port["ruled"].as_array().unwrap().clone());
    ruled.map(|one: Value| one["ejected"].as_array().unwrap().len()).sum()
}

fn outlier_of_requests(lab: &mut Lab) {
    let policy = "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 3, interval: 200ms, \
                  baseEjectionTime: 4s, maxEjectionPercent: 100}}";
    // Nearness does not keep the requests from it.
    let policy = policy.replace("ROUND_ROBIN", "ROUND_ROBIN, localityLbSetting: {enabled: false}");
    apply(lab, &destination_rule("sick", &policy));
    only(lab, "http://sick:8080", &["well", "ill"]);
    fs::write(flag(lab), "").unwrap();
    let seen = load(lab, CLIENT, "http://sick:8080", &["--requests", "100"]);
    assert_eq!(number(&seen["statuses"]["503"]), 3, "three errors in a row, and it is left out: {seen:#}");
    assert_eq!(ejected(lab, "sick"), 1);
    fs::remove_file(flag(lab)).unwrap();
    assert_eq!(spread(lab, CLIENT, "http://sick:8080", 20, &[]).keys().collect::<Vec<_>>(), ["well"]);
    only(lab, "http://sick:8080", &["well", "ill"]);
    apply(lab, &destination_rule("sick", &policy.replace("consecutive5xxErrors: 3", "consecutiveGatewayErrors: 2")));
    std::thread::sleep(Duration::from_millis(300));
    fs::write(flag(lab), "").unwrap();
    until("gateway errors count by themselves", SOON, || {
        load(lab, CLIENT, "http://sick:8080", &["--requests", "20"]);
        (ejected(lab, "sick") == 1).then_some(())
    })
    .unwrap();
    fs::remove_file(flag(lab)).unwrap();
}

fn outlier_of_connections(lab: &mut Lab) {
    let policy = "{loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {enabled: false}}, outlierDetection: \
                  {consecutive5xxErrors: 2, interval: 200ms, baseEjectionTime: 4s, maxEjectionPercent: 100}}";
    apply(lab, &destination_rule("lines", policy));
    until("who refuses is left out", SOON, || {
        let seen = tcp_load(lab, CLIENT, "lines:9000", 10);
        assert_eq!(number(&seen["by_prefix"]["alive"]), 10, "{seen:#}");
        (ejected(lab, "lines") == 1).then_some(())
    })
    .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "tcp 9000\n").unwrap();
    fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let path = file.path().display().to_string();
    let mut server = start(lab, "east/default/lines-2", &["serve", "--ports-file", &path, "--prefix", "back"]);
    std::thread::sleep(Duration::from_millis(300));
    let back = |lab: &Lab| number(&tcp_load(lab, CLIENT, "lines:9000", 20)["by_prefix"]["back"]);
    assert_eq!(back(lab), 0, "it is left out for a while, well or not");
    until("it comes back", SOON, || (back(lab) > 0).then_some(())).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
}
