//! Programs that others made, through routes and through ports that declare nothing: databases, gRPC, WebSocket, h2load,
//! curl's rarer ways.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use underpass_tests::{Lab, install, until};

use crate::http_case::Answer;
use crate::python;
use crate::scene::{
    Pod, SOON, answering, apply, client, delete, http, lab, running, service, sleeping, through, virtual_service,
};

const CLIENT: &str = "east/default/client";

/// MariaDB without its privileges; `$HOME` may be too long for a socket's name.
const MARIADB: &str = "mariadb-install-db --no-defaults --datadir=$HOME/db --skip-test-db --skip-name-resolve \
                       --auth-root-authentication-method=normal >/dev/null && cd $HOME && exec mariadbd --no-defaults \
                       --datadir=$HOME/db --socket=./s --pid-file=$HOME/pid --bind-address=0.0.0.0 --port=3306 \
                       --skip-grant-tables --skip-name-resolve --innodb-buffer-pool-size=8M --innodb-log-file-size=4M";

#[test]
fn real_clients() {
    install::need(&[
        ("mariadbd", "mariadb-server"),
        ("mariadb", "mariadb-client"),
        ("redis-server", "redis-server"),
        ("redis-cli", "redis-tools"),
        ("h2load", "nghttp2-client"),
    ])
    .unwrap();
    let mut lab = lab("lbreal", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, app, version, container| Pod { name, app, version, node: "e2", container }.text();
    let bare = |name: &str, port: u16| service(name, "any", port).replace("name: any, ", "");
    let redis =
        "exec redis-server --port 6379 --save '' --appendonly no --bind 0.0.0.0 --protected-mode no --dir $HOME";
    let scene = [
        client("client", "e1") + &client("bystander", "e1"),
        bare("db", 3306) + &pod("db", "db", "v1", running(&["sh", "-c", MARIADB])),
        bare("cache", 6379) + &pod("cache", "cache", "v1", running(&["sh", "-c", redis])),
        service("calls", "grpc", 5051) + &pod("calls", "calls", "v1", sleeping()),
        bare("calls-bare", 5051).replace("app: calls-bare", "app: calls"),
        service("sockets", "http", 5052) + &pod("sockets", "sockets", "v1", sleeping()),
        bare("sockets-bare", 5052).replace("app: sockets-bare", "app: sockets"),
        service("odd", "http", 5053) + &pod("odd", "odd", "v1", sleeping()),
        service("proxy", "http", 3128) + &pod("proxy", "proxy", "v1", sleeping()),
        service("web", "http", 8080) + &pod("web-1", "web", "v1", http(8080)) + &pod("web-2", "web", "v2", http(8080)),
        // A route, so that requests are looked at one by one, with a rule that only some of them meet.
        ["calls", "sockets", "odd"].map(routed).concat(),
    ];
    apply(&mut lab, &scene.concat());
    let mut servers: Vec<Child> = [
        ("calls", "grpc-server", "5051"),
        ("sockets", "websocket-server", "5052"),
        ("odd", "http-server", "5053"),
        ("proxy", "proxy", "3128"),
    ]
    .map(|(pod, verb, port)| serving(&lab, pod, verb, port))
    .into();
    answering(&lab, CLIENT, "http://web:8080/");
    let _ends = scopeguard(&mut servers);
    through(
        lab,
        &[
            ("MariaDB behind a port that declares nothing", mariadb),
            ("Redis behind a port that declares nothing", redis_server),
            ("gRPC: unary and streams, through a route and without", grpc),
            ("WebSocket, through a route and without", websocket),
            ("h2load against a route", h2load),
            ("curl: 100-continue, chunked uploads, trailers", bodies),
            ("curl: CONNECT", connect),
        ],
    );
}

/// Ends the servers when the test does.
fn scopeguard(servers: &mut [Child]) -> impl Drop + '_ {
    struct Ends<'a>(&'a mut [Child]);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            for server in self.0.iter_mut() {
                let _ = server.kill();
                let _ = server.wait();
            }
        }
    }
    Ends(servers)
}

fn routed(host: &str) -> String {
    let teapot = "{match: [{headers: {teapot: {exact: 'yes'}}}], directResponse: {status: 418}}";
    virtual_service(host, &format!("http: [{teapot}, {{route: [{{destination: {{host: {host}}}}}]}}]"))
}

/// A peer in a pod's network; not as the pod's user, who may not be able to read this workspace.
fn peer(lab: &Lab, pod: &str, words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.pod(&format!("east/default/{pod}")).unwrap().netns]);
    command.arg(python::interpreter()).arg(python::source("peer.py")).args(words);
    command
}

/// A server among them, when it listens.
fn serving(lab: &Lab, pod: &str, verb: &str, port: &str) -> Child {
    let mut child = peer(lab, pod, &[verb, port]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "{verb}");
    child
}

/// What a client among them says at its end.
fn said(lab: &Lab, verb: &str, to: &str) -> Value {
    let output = peer(lab, "client", &[verb, to]).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{verb} {to}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn mariadb(lab: &mut Lab) {
    let query = |text: &str| {
        let words = ["mariadb", "--no-defaults", "--skip-ssl", "-h", "db", "-u", "root", "-N", "-e", text];
        lab.exec_ok(CLIENT, &words).map(|said| said.trim().to_owned())
    };
    until("the server answers", 4 * SOON, || query("select 6 * 7").ok().filter(|said| said == "42")).unwrap();
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(query("select 6 * 7").unwrap(), "42");
    }
    // It speaks first: had its word been waited for in vain, each would have taken a second and more.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let much = "create database a; create table a.t (n int, s longtext); insert into a.t values (1, repeat('x', 3000000)); \
                select length(s), s = repeat('x', 3000000) from a.t";
    assert_eq!(query(much).unwrap(), "3000000\t1");
    let big = query("select s from a.t").unwrap();
    assert!(big.len() == 3_000_000 && big.bytes().all(|byte| byte == b'x'));
}

fn redis_server(lab: &mut Lab) {
    let ask = |words: &[&str]| {
        lab.exec_ok(CLIENT, &[&["redis-cli", "-h", "cache"], words].concat()).map(|said| said.trim().to_owned())
    };
    until("the server answers", SOON, || ask(&["ping"]).ok().filter(|said| said == "PONG")).unwrap();
    assert_eq!(ask(&["set", "a", "1"]).unwrap(), "OK");
    assert_eq!(ask(&["incrby", "a", "41"]).unwrap(), "42");
    // Pipelined, and one reply that is much larger than any buffer.
    let words = ["sh", "-c", "for n in $(seq 2000); do echo rpush list $n; done | redis-cli -h cache --pipe"];
    assert!(lab.exec_ok(CLIENT, &words).unwrap().contains("errors: 0, replies: 2000"));
    assert_eq!(ask(&["lrange", "list", "0", "-1"]).unwrap().lines().count(), 2000);
}

fn grpc(lab: &mut Lab) {
    let wanted = json!({
        "unary": "one", "trailer": "jason", "split": ["a", "b", "c"], "join": "abc",
        "chat": ["0!", "1!", "2!", "3!", "4!"], "many": 50,
        "fail": ["FAILED_PRECONDITION", "why"], "missing": "UNIMPLEMENTED",
    });
    for address in ["calls:5051", "calls-bare:5051"] {
        assert_eq!(said(lab, "grpc-client", address), wanted, "{address}");
    }
    let fault = "http: [{match: [{headers: {user: {exact: jason}}}], fault: {abort: {grpcStatus: UNAVAILABLE, \
                 percentage: {value: 100}}}, route: [{destination: {host: calls}}]}, {route: [{destination: {host: calls}}]}]";
    apply(lab, &virtual_service("calls", fault));
    until("the fault of the route is what the client gets", SOON, || {
        let output = peer(lab, "client", &["grpc-client", "calls:5051"]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("StatusCode.UNAVAILABLE").then_some(())
    })
    .unwrap();
}

fn websocket(lab: &mut Lab) {
    let wanted =
        json!({"subprotocol": "echo.v1", "text": "text", "binary": true, "pong": true, "close": [4001, "as you say"]});
    for url in ["ws://sockets:5052/", "ws://sockets-bare:5052/"] {
        assert_eq!(said(lab, "websocket-client", url), wanted, "{url}");
    }
}

fn h2load(lab: &mut Lab) {
    let to = |version: &str| format!("{{destination: {{host: web-{version}}}}}");
    let split = |version: &str| {
        service(&format!("web-{version}"), "http", 8080)
            .replace(&format!("{{app: web-{version}}}"), &format!("{{app: web, version: {version}}}"))
    };
    apply(lab, &(split("v1") + &split("v2")));
    let rules =
        format!("http: [{{match: [{{uri: {{prefix: /two}}}}], route: [{}]}}, {{route: [{}]}}]", to("v2"), to("v1"));
    apply(lab, &virtual_service("web", &rules));
    let version = |path: &str| Answer::to(lab, CLIENT, &format!("http://web:8080{path}"), &[]).says("version");
    until("the route is in force", SOON, || (version("/two") == "v2" && version("/") == "v1").then_some(())).unwrap();
    for more in [&["-m", "10"][..], &["--h1"], &["--h1", "-m", "4"]] {
        let words = [&["h2load", "-n", "2000", "-c", "8"], more, &["http://web:8080/", "http://web:8080/two"]].concat();
        let said = lab.exec_ok(CLIENT, &words).unwrap();
        assert!(said.contains("2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{more:?}: {said}");
        assert!(said.contains("status codes: 2000 2xx"), "{more:?}: {said}");
    }
    delete(lab, &virtual_service("web", ""));
}

fn bodies(lab: &mut Lab) {
    let ask = |words: &[&str], body: &str| {
        let command = format!(
            "printf %s '{body}' | curl -sSv --raw -m 8 --expect100-timeout 8 {} http://odd:5053/ 2>&1",
            words.join(" ")
        );
        lab.exec_ok(CLIENT, &["sh", "-c", &command]).unwrap()
    };
    let began = Instant::now();
    let said = ask(&["-H 'Expect: 100-continue' -H 'TE: trailers'", "--data-binary @-"], "hello");
    assert!(said.contains("HTTP/1.1 100 Continue") && said.contains("\"length\": 5"), "{said}");
    assert!(said.contains("x-end: 5"), "the trailer: {said}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "the client did not have to give up waiting: {:?}",
        began.elapsed()
    );
    let said = ask(&["-H 'Expect: 100-continue'", "-H 'teapot: yes'", "--data-binary @-"], "hello");
    assert!(said.contains("HTTP/1.1 418") && !said.contains("100 Continue"), "{said}");
    let said = ask(&["-H 'Transfer-Encoding: chunked'", "-T -", "-X POST"], "hello world");
    assert!(said.contains("\"length\": 11"), "{said}");
    let said = ask(&["-H 'Expect:'", "--data-binary @-"], "hello");
    assert!(said.contains("\"length\": 5") && !said.contains("100 Continue"), "{said}");
    // Trailers of a request come as they were sent.
    let script = "exec 3<>/dev/tcp/odd/5053; printf 'POST / HTTP/1.1\\r\\nhost: odd\\r\\nte: trailers\\r\\ntrailer: x-sum\\r\\n\
                  transfer-encoding: chunked\\r\\n\\r\\n3\\r\\nabc\\r\\n0\\r\\nx-sum: 7\\r\\n\\r\\n' >&3; timeout 1 cat <&3";
    let output = lab.exec(CLIENT, &["bash", "-c", script]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("\"length\": 3") && said.contains("\"x-sum\": \"7\""), "{said}");
}

fn connect(lab: &mut Lab) {
    for rules in [String::new(), routed("proxy")] {
        if !rules.is_empty() {
            apply(lab, &rules);
            until("the route is in force", SOON, || {
                (Answer::to(lab, CLIENT, "http://proxy:3128/", &["-H", "teapot: yes"]).status == "418").then_some(())
            })
            .unwrap();
        }
        let words = ["curl", "-sS", "-v", "-m", "8", "-p", "-x", "http://proxy:3128", "http://web:8080/through"];
        let output = lab.exec(CLIENT, &words).unwrap();
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(out.contains("\"path\":\"/through\"") && log.contains("200 Connection established"), "{out} {log}");
    }
}
