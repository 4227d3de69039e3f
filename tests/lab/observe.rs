//! What an operator sees: metrics, access log, admin answers, the commands that ask.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use underpass_tests::run::run;
use underpass_tests::{Agent, Lab, Sample, http as get, install, until};

use crate::scene::{
    Pod, SOON, answering, apply, assert_answered, assert_echoed, assert_held, client, finish, hold, http, lab, load,
    number, reachable, service, tcp, tcp_load, through,
};

const CLIENT: &str = "east/default/client";
const URL: &str = "http://web:8080/";
const ID: &str = "spiffe://cluster.local/ns/default/sa";

#[test]
fn observe() {
    let mut lab = lab("lbobserve", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, container| Pod { name, app: name, version: "v1", node: "e2", container }.text();
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\n\
        spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}\n";
    let scene = [
        client("client", "e1") + &pod("web", http(8080)) + &pod("lines", tcp(9000, "yes")),
        service("web", "http", 8080) + &service("lines", "tcp", 9000) + route,
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, URL);
    reachable(&lab, CLIENT, "lines:9000");
    through(
        lab,
        &[
            ("requests are counted at both ends, with every label", requests),
            ("connections and bytes are counted at both ends", connections),
            ("bytes of an open connection are visible while it is open", while_open),
            ("the access log as JSON", json_lines),
            ("the access log as text", text_lines),
            ("health and dumps", dumps),
            ("findings", findings),
            ("underpass status, connections, workloads", commands),
        ],
    );
}

fn ends(lab: &Lab) -> [(Agent, &'static str); 2] {
    [(lab.agent("east", "e1").unwrap(), "source"), (lab.agent("east", "e2").unwrap(), "destination")]
}

/// The labels of an edge from the client to a server, as Istio names them.
fn labels(reporter: &str, server: &str) -> BTreeMap<String, String> {
    let side = |side: &str, pod: &str| {
        let of = |label: &str, value: &str| (format!("{side}_{label}"), value.to_owned());
        let names = ["workload", "canonical_service", "app"].map(|label| of(label, pod));
        let revisions = ["canonical_revision", "version"].map(|label| of(label, "v1"));
        let place =
            [of("workload_namespace", "default"), of("cluster", "east"), of("principal", &format!("{ID}/{pod}"))];
        names.into_iter().chain(revisions).chain(place).collect::<Vec<_>>()
    };
    // By which Service the client came is known to the client's agent only.
    let host = format!("{server}.default.svc.cluster.local");
    let known = reporter == "source";
    let of_service = |value| if known { value } else { "unknown" };
    let service = [
        ("reporter", reporter),
        ("destination_service", of_service(host.as_str())),
        ("destination_service_name", of_service(server)),
        ("destination_service_namespace", of_service("default")),
        ("connection_security_policy", "mutual_tls"),
        ("response_flags", "-"),
    ];
    let service = service.map(|(name, value)| (name.to_owned(), value.to_owned()));
    side("source", "client").into_iter().chain(side("destination", server)).chain(service).collect()
}

/// The series of that name about a server.
fn series(agent: &Agent, name: &str, server: &str) -> Vec<Sample> {
    let about = [("destination_workload", server)];
    agent.metrics().unwrap().matching(name, &about).cloned().collect()
}

fn sum(agent: &Agent, name: &str, server: &str) -> u64 {
    series(agent, name, server).iter().map(|sample| sample.value as u64).sum()
}

/// Waits until both ends counted so much more than before, and asserts that it stays at that.
fn counted(lab: &Lab, name: &str, server: &str, before: &[u64], more: u64) {
    for ((agent, reporter), before) in ends(lab).iter().zip(before) {
        let count = || sum(agent, name, server) - before;
        until(&format!("{name} at {reporter}"), SOON, || (count() >= more).then_some(()))
            .unwrap_or_else(|error| panic!("{error:#}: {} of {more}", count()));
        assert_eq!(count(), more, "{name} at {reporter}");
    }
}

fn now(lab: &Lab, name: &str, server: &str) -> Vec<u64> {
    ends(lab).iter().map(|(agent, _)| sum(agent, name, server)).collect()
}

fn requests(lab: &mut Lab) {
    let total = "istio_requests_total";
    // What was asked before is counted: reports follow their requests within a moment. Both ends need not agree, for
    // what was asked before the pod was reachable reached the client's agent only.
    until("the counts rest", SOON, || {
        let counts = now(lab, total, "web");
        std::thread::sleep(Duration::from_millis(500));
        (counts == now(lab, total, "web")).then_some(())
    })
    .unwrap();
    let before = now(lab, total, "web");
    assert_answered(&load(lab, CLIENT, URL, &["--requests", "120", "--concurrency", "3"]), 120);
    counted(lab, total, "web", &before, 120);
    for (agent, reporter) in ends(lab) {
        let mut all = series(&agent, total, "web");
        all.retain(|sample| sample.labels["response_flags"] != "UF");
        let mut wanted = labels(reporter, "web");
        for (name, value) in [("request_protocol", "http"), ("response_code", "200"), ("grpc_response_status", "")] {
            wanted.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(all.iter().map(|sample| &sample.labels).collect::<Vec<_>>(), [&wanted], "at {reporter}");
        for name in ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"] {
            assert_eq!(sum(&agent, &format!("{name}_count"), "web"), sum(&agent, total, "web"), "{name} at {reporter}");
        }
    }
    let failures = |agent: &Agent| {
        let labels = [("response_code", "404"), ("destination_workload", "web")];
        agent.metrics().unwrap().sum(total, &labels) as u64
    };
    load(lab, CLIENT, &format!("{URL}status/404"), &["--requests", "7"]);
    for (agent, reporter) in ends(lab) {
        until(&format!("404s at {reporter}"), SOON, || (failures(&agent) == 7).then_some(())).unwrap();
    }
}

fn connections(lab: &mut Lab) {
    let names = ["connections_opened", "connections_closed", "received_bytes", "sent_bytes"];
    let names = names.map(|name| format!("istio_tcp_{name}_total"));
    let before: Vec<Vec<u64>> = names.iter().map(|name| now(lab, name, "lines")).collect();
    assert_echoed(&tcp_load(lab, CLIENT, "lines:9000", 50), 50);
    // `underpass\n` there, `yes underpass\n` back.
    for (i, more) in [50, 50, 500, 700].into_iter().enumerate() {
        counted(lab, &names[i], "lines", &before[i], more);
    }
    for (agent, reporter) in ends(lab) {
        let mut wanted = labels(reporter, "lines");
        wanted.insert("request_protocol".to_owned(), "tcp".to_owned());
        for name in &names {
            let all = series(&agent, name, "lines");
            assert_eq!(all.iter().map(|sample| &sample.labels).collect::<Vec<_>>(), [&wanted], "{name} at {reporter}");
        }
    }
}

fn while_open(lab: &mut Lab) {
    let (received, closed) = ("istio_tcp_received_bytes_total", "istio_tcp_connections_closed_total");
    let (before, ended) = (now(lab, received, "lines"), now(lab, closed, "lines"));
    let held = hold(lab, CLIENT, "lines:9000", "2");
    for ((agent, reporter), before) in ends(lab).iter().zip(&before) {
        until(&format!("bytes at {reporter}"), SOON, || (sum(agent, received, "lines") > before + 20).then_some(()))
            .unwrap();
    }
    for ((agent, _), direction) in ends(lab).iter().zip(["outbound", "inbound"]) {
        let rows = agent.admin("/connections").unwrap();
        let of_lines =
            |row: &&Value| row["direction"] == direction && row["destination"]["workload"] == "east/default/lines";
        let row = rows.as_array().unwrap().iter().find(of_lines);
        let row = row.unwrap_or_else(|| panic!("{rows:#}"));
        assert!(number(&row["bytes_sent"]) > 0 && number(&row["bytes_received"]) > 0, "{row:#}");
        assert_eq!((&row["tunnel"], &row["security"]), (&"underpass/1".into(), &"mutual_tls".into()), "{row:#}");
        assert_eq!(row["source"]["identity"], format!("{ID}/client"), "{row:#}");
        assert_eq!(row["destination"]["identity"], format!("{ID}/lines"), "{row:#}");
    }
    assert_eq!(now(lab, closed, "lines"), ended, "it was still open");
    assert_held(&finish(held), 10);
}

/// The newest line of a kind about a server, by its time: the threads of an agent gather lines each for itself.
fn newest(agent: &Agent, message: &str, server: &str) -> Value {
    let about = |line: &Value| line["message"] == message && line["dst.workload"] == server;
    let time = |line: &Value| line["timestamp"].as_str().map(str::to_owned);
    until(message, SOON, || agent.access_log().into_iter().filter(about).max_by_key(time)).unwrap()
}

fn json_lines(lab: &mut Lab) {
    let place = [
        "timestamp",
        "level",
        "message",
        "target",
        "connection",
        "pod",
        "direction",
        "src.addr",
        "src.workload",
        "src.namespace",
        "src.cluster",
        "src.identity",
        "dst.addr",
        "dst.tunnel_addr",
        "dst.original",
        "dst.workload",
        "dst.namespace",
        "dst.cluster",
        "dst.identity",
        "tunnel",
        "security",
        "tls.version",
        "tls.cipher",
        "tls.group",
        "protocol",
        "response_flags",
        "duration",
    ];
    let request = ["method", "path", "authority", "status", "request_bytes", "response_bytes"];
    answering(lab, CLIENT, &format!("{URL}logged"));
    reachable(lab, CLIENT, "lines:9000");
    for (agent, reporter) in ends(lab) {
        for (message, server, own) in
            [("request complete", "web", &request[..]), ("connection complete", "lines", &["bytes_sent", "bytes_recv"])]
        {
            let line = newest(&agent, message, server);
            let missing: Vec<_> = place.iter().chain(own).filter(|key| line[**key].is_null()).collect();
            assert!(missing.is_empty(), "{reporter}, {message}: no {missing:?} in {line:#}");
            let agreed = (&line["tls.version"], &line["tls.group"]);
            assert_eq!(agreed, (&"TLSv1_3".into(), &"X25519MLKEM768".into()), "{reporter}, {message}");
            assert_eq!((&line["level"], &line["tls.version"]), (&"INFO".into(), &"TLSv1_3".into()), "{line:#}");
        }
        let logged = || agent.access_log().into_iter().find(|line| line["path"] == "/logged");
        let line = until("the request's line", SOON, logged).unwrap();
        let seen = ["method", "path", "status", "authority"].map(|key| line[key].clone());
        assert_eq!(seen, ["GET".into(), "/logged".into(), 200.into(), Value::from("web:8080")], "{line:#}");
        // Of the step before there is a line too: this connection's comes when both its ends have closed.
        let bytes = if reporter == "source" { (10, 14) } else { (14, 10) };
        let counted = || {
            let line = newest(&agent, "connection complete", "lines");
            ((number(&line["bytes_sent"]), number(&line["bytes_recv"])) == bytes).then_some(())
        };
        until(&format!("{reporter} logs {bytes:?} bytes sent and received"), SOON, counted).unwrap();
    }
    let source = newest(&lab.agent("east", "e1").unwrap(), "connection complete", "lines");
    assert_eq!(source["dst.service"], "lines.default.svc.cluster.local", "{source:#}");
}

fn text_lines(lab: &mut Lab) {
    let of = |lab: &mut Lab, format: &str| {
        let record = lab.record.agents.iter_mut().find(|agent| agent.node == "e1").unwrap();
        let at = record.args.iter().position(|arg| arg == "--log-format").unwrap() + 1;
        record.args[at] = format.to_owned();
        lab.restart_agent("east", "e1", &[]).unwrap_or_else(|error| panic!("{error:#}"))
    };
    let agent = of(lab, "text");
    answering(lab, CLIENT, &format!("{URL}as-text"));
    let line = until("the line", SOON, || {
        let text = std::fs::read_to_string(&agent.record.log).unwrap();
        text.lines().find(|line| line.contains("path=\"/as-text\"")).map(str::to_owned)
    })
    .unwrap();
    for part in [
        " INFO access: request complete connection=",
        " pod=\"default/client\" direction=\"outbound\" src.addr=10.",
        " src.identity=\"spiffe://cluster.local/ns/default/sa/client\" ",
        " dst.service=\"web.default.svc.cluster.local\" dst.workload=\"web\" ",
        " tunnel=\"underpass/1\" security=\"mutual_tls\" tls.version=\"TLSv1_3\" ",
        " protocol=\"http\" method=\"GET\" path=\"/as-text\" authority=\"web:8080\" status=200 ",
        " response_flags=\"-\" duration=\"",
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    of(lab, "json");
    answering(lab, CLIENT, URL);
}

fn dumps(lab: &mut Lab) {
    for (agent, _) in ends(lab) {
        assert_eq!(get::get(agent.address(15021), "/healthz/ready").unwrap(), (200, "ready\n".to_owned()));
        let (status, text) = get::get(agent.address(15020), "/stats/prometheus").unwrap();
        assert!(status == 200 && text.contains("# TYPE istio_requests_total counter"), "{status}");
        let snapshot = agent.admin("/snapshot").unwrap();
        let services = snapshot["services"].as_array().unwrap();
        let web = services.iter().find(|service| service["host"] == "web.default.svc.cluster.local").unwrap();
        let endpoint = format!("{}:8080", lab.pod("east/default/web").unwrap().v4);
        assert!(web["ports"][0]["endpoints"].to_string().contains(&endpoint), "{web:#}");
        assert_eq!(snapshot["routes"][0]["virtualService"], "default/web", "{:#}", snapshot["routes"]);
        let pods = agent.admin("/pods").unwrap();
        let here = lab.record.pods.iter().filter(|pod| pod.node == agent.record.node);
        let mut names: Vec<String> = here.map(|pod| format!("default/{}", pod.name)).collect();
        names.sort();
        let seen = pods.as_array().unwrap();
        assert_eq!(seen.iter().map(|row| row["pod"].as_str().unwrap()).collect::<Vec<_>>(), names);
        assert!(seen.iter().all(|row| row["captured"] == true), "{pods:#}");
    }
}

fn findings(lab: &mut Lab) {
    let agent = lab.agent("east", "e1").unwrap();
    assert_eq!(agent.admin("/findings").unwrap(), serde_json::json!([]));
    let wrong = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: wrong}\n\
        spec:\n  hosts: [lines]\n  tcp: [{route: [{destination: {host: lines, subset: nowhere}}]}]\n";
    apply(lab, wrong);
    let found = || Some(agent.admin("/findings").unwrap()).filter(|all| all != &serde_json::json!([]));
    let all = until("a finding", SOON, found).unwrap();
    let text = all.to_string();
    assert!(text.contains("nowhere") && text.contains("virtualservice/wrong.yaml"), "{all:#}");
    assert!(agent.metrics().unwrap().sum("underpass_config_findings", &[]) > 0.0);
    crate::scene::delete(lab, wrong);
    until("none", SOON, || (agent.admin("/findings").unwrap() == serde_json::json!([])).then_some(())).unwrap();
    assert_eq!(agent.metrics().unwrap().sum("underpass_config_findings", &[]), 0.0);
}

fn commands(lab: &mut Lab) {
    let agent = lab.agent("east", "e1").unwrap();
    let held = hold(lab, CLIENT, "lines:9000", "1.5");
    let admin = agent.address(15000).to_string();
    let ask =
        |words: &[&str]| run(Command::new(install::built("underpass")).args(words).args(["--admin", &admin])).unwrap();
    let status = ask(&["status"]);
    for part in ["ready         yes", "connections   1", "pods          1", "default/client"] {
        assert!(status.contains(part), "{part:?} is not in\n{status}");
    }
    let connections = ask(&["connections"]);
    let row = connections.lines().find(|line| line.contains("default/client")).unwrap();
    for part in ["outbound", "lines.default.svc.cluster.local", "underpass/1", "mutual_tls"] {
        assert!(row.contains(part), "{part:?} is not in\n{connections}");
    }
    let workloads = ask(&["workloads"]);
    let row = workloads.lines().find(|line| line.contains("/sa/web")).unwrap();
    assert!(row.contains("east") && row.contains("e2") && row.contains("underpass"), "{workloads}");
    for question in ["status", "connections", "workloads"] {
        let text = ask(&[question, "-o", "json"]);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["ready"] == true || !answer.as_array().unwrap().is_empty(), "{text}");
    }
    finish(held);
}
