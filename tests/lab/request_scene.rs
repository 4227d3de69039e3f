//! The scene of the tests that look at requests: the clients and servers of the tests of AuthorizationPolicies, speaking
//! HTTP, and what an application and an operator see of a request.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use serde_json::Value;
use underpass_tests::{Agent, Lab, until};

use crate::authorization_probe::{SERVERS, address, server};
use crate::scene::{Pod, SOON, apply, delete, lab, running, service, three_clients};

pub const ALICE: &str = "east/default/alice";
pub const BOB: &str = "east/other/bob";
pub const OUTSIDER: &str = "east/default/outsider";

/// Answers every request with its own head, and says in its log what was asked, before it answers.
const SERVER: &str = "use IO::Socket::INET; $| = 1; $SIG{CHLD} = 'IGNORE'; \
    $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 99, ReuseAddr => 1) or die; \
    while ($c = $s->accept) { if (fork) { close $c; next } $c->autoflush(1); $h = ''; \
    while (<$c>) { $h .= $_; next unless /^\\r?$/; ($l) = split /\\r/, $h; print qq(asked $l\\n); \
    $n = length $h; print $c qq(HTTP/1.1 200 OK\\r\\ncontent-length: $n\\r\\n\\r\\n$h); $h = '' } exit }";

/// The lab. `near` is on the clients' node, `far` behind `underpass/1`, `tunnelled` behind HBONE.
pub fn up(name: &str, more: &str) -> Lab {
    let mut lab = lab(name, "clusters: [{name: east, nodes: [{name: u1}, {name: u2}, {name: h1, tunnel: hbone}]}]");
    let server = |name, node| {
        let container = running(&["perl", "-e", SERVER]);
        Pod { name, app: name, version: "v1", node, container }.text() + &service(name, "http", 8080)
    };
    apply(
        &mut lab,
        &(three_clients("u1") + &server("near", "u1") + &server("far", "u2") + &server("tunnelled", "h1") + more),
    );
    for name in SERVERS {
        for client in [ALICE, BOB, OUTSIDER] {
            waits(&lab, client, &by_service(&lab, client, name), &["/"], 200);
        }
    }
    lab
}

/// A server by its Service, whose requests the client's agent routes; pods outside of the mesh know its address only.
pub fn by_service(lab: &Lab, client: &str, name: &str) -> String {
    match client {
        OUTSIDER => by_address(lab, name),
        BOB => format!("http://{name}.default:8080"),
        _ => format!("http://{name}:8080"),
    }
}

/// A server by its address, where the client's agent carries bytes.
pub fn by_address(lab: &Lab, name: &str) -> String {
    format!("http://{}", address(lab, &server(name), 8080))
}

/// An answer: status and body.
pub fn asked(lab: &Lab, client: &str, url: &str, words: &[&str]) -> (u16, String) {
    let (path, words) = words.split_first().unwrap();
    let url = format!("{url}{path}");
    let all = [&["curl", "-sS", "-m", "5", "-g", "--path-as-is", "-w", "\n%{http_code}"], words, &[&url]].concat();
    let text = lab.exec(client, &all).unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (status.parse().unwrap_or(0), body.to_owned())
}

/// Waits until a request gets that status.
pub fn waits(lab: &Lab, client: &str, url: &str, words: &[&str], wanted: u16) {
    let seen = || asked(lab, client, url, words);
    let outcome = until("the answer", SOON, || (seen().0 == wanted).then_some(()));
    outcome.unwrap_or_else(|error| panic!("{error:#}: {client} {url} {words:?}: {:?}, wanted {wanted}", seen()));
}

/// Requests that the application got, by its own log.
pub fn arrived(lab: &Lab, name: &str, path: &str) -> usize {
    let pod = lab.pod(&server(name)).unwrap();
    let logs = pod.containers.iter().map(|container| std::fs::read_to_string(&container.log).unwrap_or_default());
    let line = format!(" {path} HTTP/1.");
    logs.map(|text| text.lines().filter(|one| one.starts_with("asked ") && one.contains(&line)).count()).sum()
}

/// The latest line of the destination's access log about a request for this path.
pub fn line(lab: &Lab, name: &str, path: &str) -> Value {
    let agent = lab.agent_of(&server(name)).unwrap();
    let fits = |line: &Value| line["direction"] == "inbound" && line["dst.workload"] == name && line["path"] == path;
    until("a line of the access log", SOON, || agent.access_log().into_iter().rev().find(fits))
        .unwrap_or_else(|error| panic!("{error:#}: {name} {path}"))
}

/// Requests that the destination's agent counts.
pub fn counted(agent: &Agent, name: &str, status: &str, flags: &str) -> f64 {
    let labels = [
        ("reporter", "destination"),
        ("destination_workload", name),
        ("response_code", status),
        ("response_flags", flags),
    ];
    agent.metrics().unwrap().sum("istio_requests_total", &labels)
}

/// Applies objects for what is done with them, and takes them away again.
pub fn with(lab: &mut Lab, text: &str, work: impl FnOnce(&mut Lab)) {
    apply(lab, text);
    work(lab);
    delete(lab, text);
    SERVERS.iter().for_each(|name| waits(lab, ALICE, &by_service(lab, ALICE, name), &["/"], 200));
}
