//! CUSTOM policies: authorizers that are not ours, over gRPC and over HTTP, asked by pods of one node, through
//! `underpass/1`, through HBONE, and for plaintext from outside.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use underpass_tests::{Lab, until};

use crate::authorization_probe::{SERVERS, address, policy, server};
use crate::pair;
use crate::python;
use crate::request_scene::{
    ALICE, BOB, OUTSIDER, arrived, asked, by_address, by_service, counted, line, up, waits, with,
};
use crate::scene::{Pod, SOON, apply, delete, service, sleeping, through};

const DENIED: &str = "RBAC: access denied";
const ALICE_ID: &str = "spiffe://cluster.local/ns/default/sa/alice";

#[test]
fn external_authorization() {
    let pods = ["checks", "checks-http"].map(|name| {
        Pod { name, app: name, version: "v1", node: "u2", container: sleeping() }.text() + &service(name, "grpc", 9000)
    });
    let mut lab = up("extauth", &pods.concat().replace("{name: grpc, port: 9000}]", "{name: tcp, port: 9000}]"));
    let _ = (std::fs::remove_file(log("grpc")), std::fs::remove_file(log("http")));
    let _servers = Servers([("checks", "grpc"), ("checks-http", "http")].map(|(pod, verb)| serving(&lab, pod, verb)));
    apply(&mut lab, &providers());
    through(
        lab,
        &[
            ("allowed and denied, for every client on every way", ways),
            ("what is asked, and what becomes of the request", changes),
            ("how a denial looks", denials),
            ("CUSTOM, then DENY, then ALLOW", order),
            ("an authorizer that is away, late, broken, unknown", failures),
            ("over HTTP", over_http),
            ("connections that are no HTTP", opaque),
            ("the authorizer is not asked about itself", itself),
        ],
    );
}

fn log(verb: &str) -> String {
    format!("/tmp/underpass-test-authorizer-{}-{verb}", std::process::id())
}

struct Servers([Child; 2]);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = (std::fs::remove_file(log("grpc")), std::fs::remove_file(log("http")));
    }
}

/// An authorizer in a pod's network, when it listens.
fn serving(lab: &Lab, pod: &str, verb: &str) -> Child {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.pod(&server(pod)).unwrap().netns]);
    command.arg(python::interpreter()).arg(python::source("authorizer.py")).args([verb, "9000", &log(verb)]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "{verb}");
    child
}

/// Istio's MeshConfig.
fn providers() -> String {
    let grpc = |name: &str, service: &str, more: &str| {
        format!("    - name: {name}\n      envoyExtAuthzGrpc: {{service: {service}, port: 9000, timeout: 1s{more}}}\n")
    };
    let all = [
        grpc("checks", "default/checks.default.svc.cluster.local", ""),
        grpc("open", "nowhere.default.svc.cluster.local", ", failOpen: true"),
        grpc("closed", "nowhere.default.svc.cluster.local", ", statusOnError: '503'"),
        "    - name: web\n      envoyExtAuthzHttp:\n        service: checks-http.default.svc.cluster.local\n        \
         port: 9000\n        timeout: 1s\n        pathPrefix: /check\n        includeRequestHeadersInCheck: [x-asked]\n        \
         includeAdditionalHeadersInCheck: {x-mesh: underpass}\n        headersToUpstreamOnAllow: [x-user]\n        \
         headersToDownstreamOnAllow: ['x-check*']\n        headersToDownstreamOnDeny: [x-why]\n"
            .to_owned(),
    ];
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
         extensionProviders:\n{}",
        all.concat()
    )
}

/// A CUSTOM policy of `default`, for the paths that begin so; `aim` is its selector or nothing.
fn custom(aim: &str, provider: &str, paths: &str) -> String {
    let rule = format!("rules: [{{to: [{{operation: {{paths: [{paths}]}}}}]}}]");
    policy("custom", "default", &format!("{{{aim}action: CUSTOM, provider: {{name: {provider}}}, {rule}}}"))
}

/// Servers only: the authorizers' own pods are in the namespace too.
fn on(name: &str) -> String {
    format!("selector: {{matchLabels: {{app: {name}}}}}, ")
}

/// What an authorizer was asked about a path: the latest.
fn question(verb: &str, path: &str) -> Value {
    let read = || {
        let text = std::fs::read_to_string(log(verb)).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let asked = |one: &Value| one["request"]["http"]["path"].as_str().or(one["path"].as_str()).map(str::to_owned);
        lines.into_iter().rev().find(|one| asked(one).is_some_and(|asked| asked.contains(path)))
    };
    until("it was asked", SOON, read).unwrap_or_else(|error| panic!("{error:#}: {path}"))
}

fn questions(verb: &str) -> usize {
    std::fs::read_to_string(log(verb)).unwrap_or_default().lines().count()
}

fn ways(lab: &mut Lab) {
    with(lab, &custom("", "checks", "'/den*', '/ok*'"), |lab| {
        for name in SERVERS {
            let agent = lab.agent_of(&server(name)).unwrap();
            for client in [ALICE, BOB, OUTSIDER] {
                for url in [by_service(lab, client, name), by_address(lab, name)] {
                    waits(lab, client, &url, &["/denied/wait"], 403);
                    let denied = asked(lab, client, &url, &["/denied"]);
                    assert_eq!(denied, (403, DENIED.to_owned()), "{client} {url}");
                    assert_eq!(asked(lab, client, &url, &["/ok"]).0, 200, "{client} {url}");
                    assert_eq!(asked(lab, client, &url, &["/unasked"]).0, 200, "{client} {url}");
                }
            }
            assert_eq!((arrived(lab, name, "/denied"), arrived(lab, name, "/ok?seen=1")), (0, 6), "{name}");
            let seen = line(lab, name, "/denied");
            assert_eq!((&seen["status"], &seen["response_flags"]), (&403.into(), &"UAEX".into()), "{seen:#}");
            let error = seen["error"].as_str().unwrap();
            assert!(error.contains("denied by authorizer checks") && error.contains("not today"), "{seen:#}");
            assert!(counted(&agent, name, "403", "UAEX") >= 6.0, "{name}");
            let count = |result: &str| {
                let labels = [("authorizer", "checks"), ("result", result)];
                agent.metrics().unwrap().sum("underpass_external_authorizations_total", &labels)
            };
            assert!(count("denied") >= 6.0 && count("allowed") >= 6.0, "{name}");
        }
    });
}

fn changes(lab: &mut Lab) {
    with(lab, &custom("", "checks", "/asked"), |lab| {
        for name in ["near", "far"] {
            let url = by_service(lab, ALICE, name);
            let words = [
                "/asked?token=t&x=2",
                "-i",
                "-XPUT",
                "-Hx-secret: s",
                "-Hx-user: root",
                "-Hx-tags: a",
                "-Hx-two: 1",
                "-Hx-two: 2",
                "-Hx-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/admin",
            ];
            let answer = || asked(lab, ALICE, &url, &words).1;
            let head =
                until("the policy", SOON, || Some(answer()).filter(|head| head.contains("x-checked: yes"))).unwrap();
            for wanted in ["PUT /asked?x=2&seen=1 HTTP", "x-user: ann", "x-tags: a", "x-tags: b"] {
                assert!(head.contains(wanted), "{wanted}: {head}");
            }
            for gone in ["x-secret", "root", "forged", "admin"] {
                assert!(!head.contains(gone), "{gone}: {head}");
            }
            let asked = question("grpc", "/asked");
            let http = &asked["request"]["http"];
            assert_eq!((&http["method"], &http["path"]), (&"PUT".into(), &"/asked?token=t&x=2".into()), "{asked:#}");
            assert_eq!(
                (&http["protocol"], &http["host"]),
                (&"HTTP/1.1".into(), &format!("{name}:8080").into()),
                "{asked:#}"
            );
            let headers = &http["headers"];
            assert_eq!((&headers["x-secret"], &headers["x-two"]), (&"s".into(), &"1,2".into()), "{asked:#}");
            assert_eq!(
                (&headers[":path"], &headers["x-user"]),
                (&"/asked?token=t&x=2".into(), &"root".into()),
                "{asked:#}"
            );
            assert!(!headers.to_string().contains("admin"), "{asked:#}");
            assert_eq!(
                (&asked["source"]["principal"], &asked["destination"]["principal"]),
                (&ALICE_ID.into(), &ALICE_ID.replace("alice", name).into())
            );
            let ip = |pod: &str| address(lab, pod, 1).ip().to_string();
            assert_eq!(asked["source"]["address"]["socketAddress"]["address"], ip(ALICE), "{asked:#}");
            let to = &asked["destination"]["address"]["socketAddress"];
            assert_eq!((&to["address"], &to["portValue"]), (&ip(&server(name)).into(), &8080.into()), "{asked:#}");
        }
    });
}

fn denials(lab: &mut Lab) {
    with(lab, &custom("", "checks", "'/den*'"), |lab| {
        let url = by_service(lab, ALICE, "far");
        waits(lab, ALICE, &url, &["/denied"], 403);
        let (status, head) = asked(lab, ALICE, &url, &["/denied-so", "-i"]);
        assert!(status == 401 && head.contains("x-why: nobody") && head.ends_with("who are you?"), "{head}");
        let second = asked(lab, ALICE, &url, &["/denied-so", "--http2-prior-knowledge"]);
        assert_eq!(second, (401, "who are you?".to_owned()));
        let grpc = ["/denied", "--http2-prior-knowledge", "-i", "-XPOST", "-Hcontent-type: application/grpc"];
        let (status, head) = asked(lab, ALICE, &url, &grpc);
        assert!(status == 200 && head.contains("grpc-status: 7"), "{head}");
    });
}

fn order(lab: &mut Lab) {
    let more = policy("denying", "default", "{action: DENY, rules: [{to: [{operation: {paths: [/ok/no]}}]}]}")
        + &policy(
            "allowing",
            "default",
            "{selector: {matchLabels: {app: far}}, rules: [{when: [{key: 'request.headers[x-user]', values: [ann]}], \
             to: [{operation: {paths: ['/ok*', /deny]}}]}]}",
        );
    with(lab, &(custom(&on("far"), "checks", "'/ok*', /deny") + &more), |lab| {
        let url = by_service(lab, ALICE, "far");
        waits(lab, ALICE, &url, &["/none"], 403);
        // The header that the authorizer gives is what the policies look at.
        assert_eq!(asked(lab, ALICE, &url, &["/ok"]).0, 200);
        assert_eq!(asked(lab, ALICE, &url, &["/ok/no"]).0, 403, "DENY counts behind CUSTOM");
        assert_eq!(asked(lab, ALICE, &url, &["/deny"]).0, 403, "CUSTOM counts before ALLOW");
        assert_eq!(asked(lab, ALICE, &url, &["/other", "-Hx-user: bob"]).0, 403, "ALLOW counts where nobody is asked");
        let errors = ["/ok/no", "/deny"].map(|path| {
            let seen = line(lab, "far", &if path == "/ok/no" { "/ok/no".to_owned() } else { path.to_owned() });
            seen["error"].as_str().unwrap_or_default().to_owned()
        });
        assert!(errors[0].contains("default/denying") && errors[1].contains("authorizer checks"), "{errors:?}");
    });
}

fn failures(lab: &mut Lab) {
    let url = by_service(lab, ALICE, "far");
    for (provider, path, status) in [
        ("closed", "/x", 503),
        ("open", "/x", 200),
        ("unknown", "/x", 403),
        ("checks", "/slow", 403),
        ("checks", "/broken", 403),
    ] {
        let text = custom(&on("far"), provider, "/x, /slow, /broken");
        if provider == "open" {
            // Not asked at all would look the same.
            let before = failed(lab);
            apply(lab, &text);
            until("it is asked", SOON, || {
                assert!([200, 503].contains(&asked(lab, ALICE, &url, &[path]).0));
                (failed(lab) > before).then_some(())
            })
            .unwrap();
        }
        crate::scene::apply_to(lab, "east", &text);
        waits(lab, ALICE, &url, &[path], status);
    }
    let seen = line(lab, "far", "/broken");
    assert!(seen["error"].as_str().unwrap().contains("gRPC status 14: out of order"), "{seen:#}");
    assert_eq!(seen["response_flags"], "UAEX", "{seen:#}");
    delete(lab, &custom("", "checks", "/x"));
    waits(lab, ALICE, &url, &["/broken"], 200);
}

fn failed(lab: &Lab) -> f64 {
    let labels = [("authorizer", "open"), ("result", "failed")];
    lab.agent_of(&server("far")).unwrap().metrics().unwrap().sum("underpass_external_authorizations_total", &labels)
}

fn over_http(lab: &mut Lab) {
    with(lab, &custom("", "web", "'/den*', /asked, /broken"), |lab| {
        for name in ["near", "far"] {
            let url = by_service(lab, ALICE, name);
            waits(lab, ALICE, &url, &["/denied"], 401);
            let (_, head) = asked(lab, ALICE, &url, &["/denied", "-i"]);
            assert!(
                head.contains("x-why: nobody") && head.ends_with("who are you?") && !head.contains("x-inner"),
                "{head}"
            );
            let words =
                ["/asked?a=b", "-i", "-XPUT", "-Hx-asked: 1", "-Hx-other: 2", "-Hx-mesh: forged", "-Hx-user: root"];
            let (status, head) = asked(lab, ALICE, &url, &words);
            assert!(status == 200 && head.contains("x-user: ann") && head.contains("x-checked: yes"), "{head}");
            assert!(!head.contains("root") && !head.contains("x-inner"), "{head}");
            let seen = question("http", "/asked");
            assert_eq!((&seen["method"], &seen["path"]), (&"PUT".into(), &"/check/asked?a=b".into()), "{seen:#}");
            let headers = &seen["headers"];
            assert_eq!((&headers["x-asked"], &headers["x-mesh"]), (&"1".into(), &"underpass".into()), "{seen:#}");
            assert_eq!(
                (&headers["host"], &headers["x-other"]),
                (&format!("{name}:8080").into(), &Value::Null),
                "{seen:#}"
            );
            assert_eq!(asked(lab, ALICE, &url, &["/broken"]).0, 403);
        }
    });
}

/// What the application says to a line that is no request: it repeats it.
fn said(lab: &Lab, to: std::net::SocketAddr) -> String {
    let mut stream = pair::connect(lab, ALICE, to).unwrap();
    let mut heard = [0; 256];
    let read = stream.write_all(b"PING\r\n\r\n").and_then(|()| stream.read(&mut heard)).unwrap_or(0);
    String::from_utf8_lossy(&heard[..read]).into_owned()
}

fn opaque(lab: &mut Lab) {
    let text = policy(
        "custom",
        "default",
        "{selector: {matchLabels: {app: far}}, action: CUSTOM, provider: {name: checks}, rules: [{}]}",
    );
    apply(lab, &text);
    let before = questions("grpc");
    let to = address(lab, &server("far"), 8080);
    until("a connection is asked about", SOON, || {
        said(lab, to);
        (questions("grpc") > before).then_some(())
    })
    .unwrap();
    let text_of = std::fs::read_to_string(log("grpc")).unwrap();
    let last: Value = serde_json::from_str(text_of.lines().last().unwrap()).unwrap();
    assert_eq!((&last["request"]["http"], &last["source"]["principal"]), (&Value::Null, &ALICE_ID.into()), "{last:#}");
    let heard = said(lab, to);
    assert!(heard.ends_with("PING\r\n\r\n"), "{heard}");
    delete(lab, &text);
    waits(lab, ALICE, &by_service(lab, ALICE, "far"), &["/"], 200);
}

fn itself(lab: &mut Lab) {
    let text = policy("custom", "istio-system", "{action: CUSTOM, provider: {name: checks}, rules: [{}]}");
    with(lab, &text, |lab| {
        for name in SERVERS {
            let url = by_service(lab, ALICE, name);
            waits(lab, ALICE, &url, &["/denied"], 403);
            assert_eq!(asked(lab, ALICE, &url, &["/ok"]).0, 200, "{name}");
        }
    });
}
