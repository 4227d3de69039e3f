//! Routes: weights, matches, live changes, and what happens where nobody listens.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::time::{Duration, Instant};

use underpass_tests::{Lab, until};

use crate::scene::{
    Pod, SOON, answering, apply, assert_answered, assert_echoed, assert_share, assert_unhurt, client, delete, finish,
    http, lab, load, number, service, sleeping, start, tcp, tcp_load, through,
};

const CLIENT: &str = "east/default/client";
const SHOP: &str = "http://shop:8080/";

const SUBSETS: &str = "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pipe}
spec:
  host: pipe
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

#[test]
fn routing() {
    let mut lab = lab("lbroute", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let scene = [
        client("client", "e1"),
        service("shop", "http", 8080) + &service("pipe", "tcp", 9000),
        pod("shop-v1", "shop", "v1", "e1", http(8080)) + &pod("shop-v2", "shop", "v2", "e2", http(8080)),
        pod("pipe-v1", "pipe", "v1", "e1", tcp(9000, "one")) + &pod("pipe-v2", "pipe", "v2", "e2", tcp(9000, "two")),
        // Of the two endpoints of each of these, one is a pod where nobody listens.
        service("half", "http", 8080) + &service("half-tcp", "tcp", 9000) + &service("none", "http", 8080),
        pod("half-1", "half", "v1", "e2", http(8080)) + &pod("half-2", "half", "v2", "e2", sleeping()),
        pod("half-tcp-1", "half-tcp", "v1", "e2", tcp(9000, "alive")),
        pod("half-tcp-2", "half-tcp", "v2", "e2", sleeping()) + &pod("none-1", "none", "v1", "e2", sleeping()),
        // The one that is alive is reached otherwise than by the tunnel that is refused: on this node, in plaintext.
        service("near", "tcp", 9000) + &pod("near-1", "near", "v1", "e1", tcp(9000, "alive")),
        pod("near-2", "near", "v2", "e2", sleeping()) + &service("plain", "tcp", 9000),
        pod("plain-1", "plain", "v1", "e2", tcp(9000, "alive"))
            .replace("{app: plain,", "{istio.io/dataplane-mode: none, app: plain,"),
        pod("plain-2", "plain", "v2", "e2", sleeping()),
        SUBSETS.to_owned(),
    ];
    apply(&mut lab, &scene.concat());
    through(
        lab,
        &[
            ("without a route every endpoint is used", plain),
            ("weights split requests", split_requests),
            ("weights split connections", split_connections),
            ("matches on uri, header, method", matches),
            ("a route changed under load fails no request", live_switch),
            ("a deleted VirtualService leaves plain balancing", deleted),
            ("a port that the Service does not have fails fast", missing_port),
            ("a dead endpoint costs no connection", dead_endpoint),
            ("a dead endpoint costs no request", dead_endpoint_of_requests),
            ("where all endpoints refuse, the client knows at once", all_refuse),
        ],
    );
}

/// The route `name` of a host, from its rules in YAML.
fn route(host: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}}}\n\
         spec:\n  hosts: [{host}]\n{rules}"
    )
}

fn to(subset: &str) -> String {
    format!("route: [{{destination: {{host: shop, subset: {subset}}}}}]")
}

/// Waits until requests of that kind come to one version only.
fn settled(lab: &Lab, version: &str, more: &[&str]) {
    let words = [&["--requests", "10", "--concurrency", "10"], more].concat();
    let only = || (number(&load(lab, CLIENT, SHOP, &words)["by_version"][version]) == 10).then_some(());
    until(&format!("{more:?} come to {version}"), SOON, only).unwrap();
}

fn plain(lab: &mut Lab) {
    answering(lab, CLIENT, SHOP);
    let seen = load(lab, CLIENT, SHOP, &["--requests", "100", "--new-connection", "true"]);
    assert_answered(&seen, 100);
    assert!(number(&seen["by_version"]["v1"]) > 0 && number(&seen["by_version"]["v2"]) > 0, "{seen:#}");
}

fn split_requests(lab: &mut Lab) {
    let weighted = |a, b| {
        let one = format!("{{destination: {{host: shop, subset: v1}}, weight: {a}}}");
        route(
            "shop",
            &format!("  http:\n  - route: [{one}, {{destination: {{host: shop, subset: v2}}, weight: {b}}}]\n"),
        )
    };
    apply(lab, &weighted(0, 100));
    settled(lab, "v2", &[]);
    apply(lab, &weighted(80, 20));
    until("both versions answer", SOON, || {
        (number(&load(lab, CLIENT, SHOP, &["--requests", "20"])["by_version"]["v1"]) > 0).then_some(())
    })
    .unwrap();
    // One connection carries requests to both: routed one by one.
    let seen = load(lab, CLIENT, SHOP, &["--requests", "500"]);
    assert_answered(&seen, 500);
    assert_share(number(&seen["by_version"]["v2"]), 500, 0.2);
}

fn split_connections(lab: &mut Lab) {
    let weighted = |a, b| {
        let one = format!("{{destination: {{host: pipe, subset: v1}}, weight: {a}}}");
        route(
            "pipe",
            &format!("  tcp:\n  - route: [{one}, {{destination: {{host: pipe, subset: v2}}, weight: {b}}}]\n"),
        )
    };
    apply(lab, &weighted(0, 100));
    until("connections come to v2", SOON, || {
        (number(&tcp_load(lab, CLIENT, "pipe:9000", 10)["by_prefix"]["two"]) == 10).then_some(())
    })
    .unwrap();
    apply(lab, &weighted(70, 30));
    until("both versions answer", SOON, || {
        (number(&tcp_load(lab, CLIENT, "pipe:9000", 20)["by_prefix"]["one"]) > 0).then_some(())
    })
    .unwrap();
    let seen = tcp_load(lab, CLIENT, "pipe:9000", 500);
    assert_echoed(&seen, 500);
    assert_share(number(&seen["by_prefix"]["two"]), 500, 0.3);
}

fn matches(lab: &mut Lab) {
    let rules = [
        "{uri: {exact: /exact}}",
        "{uri: {prefix: /prefix/}}",
        "{uri: {regex: '/item/[0-9]+'}}",
        "{headers: {end-user: {exact: jason}}}",
        "{method: {exact: PUT}}",
    ];
    let rules: String = rules.iter().map(|rule| format!("  - match: [{rule}]\n    {}\n", to("v2"))).collect();
    apply(lab, &route("shop", &format!("  http:\n{rules}  - {}\n", to("v1"))));
    settled(lab, "v1", &[]);
    let cases: [(&str, &[&str], &str); 11] = [
        ("exact", &[], "v2"),
        ("exact/more", &[], "v1"),
        ("prefix/anything", &[], "v2"),
        ("prefixed", &[], "v1"),
        ("item/42", &[], "v2"),
        ("item/42x", &[], "v1"),
        ("item/x", &[], "v1"),
        ("", &["--header", "end-user: jason"], "v2"),
        ("", &["--header", "end-user: jasonx"], "v1"),
        ("", &["--method", "PUT"], "v2"),
        ("", &["--method", "POST"], "v1"),
    ];
    for (path, more, version) in cases {
        let seen = load(lab, CLIENT, &format!("{SHOP}{path}"), &[&["--requests", "5"], more].concat());
        assert_answered(&seen, 5);
        assert_eq!(number(&seen["by_version"][version]), 5, "/{path} {more:?}: {seen:#}");
    }
}

fn live_switch(lab: &mut Lab) {
    apply(lab, &route("shop", &format!("  http:\n  - {}\n", to("v1"))));
    settled(lab, "v1", &[]);
    let words = ["load", "--url", SHOP, "--seconds", "3", "--concurrency", "4", "--pause-ms", "1"];
    let kept = start(lab, CLIENT, &words);
    let fresh = start(lab, CLIENT, &[&words[..], &["--new-connection", "true"]].concat());
    std::thread::sleep(Duration::from_millis(1000));
    apply(lab, &route("shop", &format!("  http:\n  - {}\n", to("v2"))));
    for child in [kept, fresh] {
        let seen = finish(child);
        assert_unhurt(&seen, 100);
        let versions = &seen["by_version"];
        assert!(number(&versions["v1"]) > 0 && number(&versions["v2"]) > 0, "{seen:#}");
    }
    settled(lab, "v2", &[]);
}

fn deleted(lab: &mut Lab) {
    delete(lab, &route("shop", ""));
    until("both versions answer again", SOON, || {
        let seen = load(lab, CLIENT, SHOP, &["--requests", "20", "--new-connection", "true"]);
        (number(&seen["by_version"]["v1"]) > 2 && number(&seen["by_version"]["v2"]) > 2).then_some(())
    })
    .unwrap();
}

fn missing_port(lab: &mut Lab) {
    let began = Instant::now();
    let out = lab.exec(CLIENT, &["curl", "-sS", "-m", "8", "http://shop:8081/"]).unwrap();
    assert!(!out.status.success() && began.elapsed() < Duration::from_secs(2), "{:?} {out:?}", began.elapsed());
}

fn dead_endpoint(lab: &mut Lab) {
    // Each sends before it is answered: what it said goes to the next endpoint after a refusal.
    for service in ["half-tcp:9000", "near:9000", "plain:9000"] {
        let seen = tcp_load(lab, CLIENT, service, 100);
        assert_echoed(&seen, 100);
        assert_eq!(number(&seen["by_prefix"]["alive"]), 100, "{service}: {seen:#}");
    }
}

fn dead_endpoint_of_requests(lab: &mut Lab) {
    apply(lab, &route("half", "  http:\n  - route: [{destination: {host: half}}]\n"));
    std::thread::sleep(Duration::from_millis(500));
    for more in [&["--new-connection", "true"], &["--h2", "true"]] {
        let words = [&["--requests", "200", "--concurrency", "4"], &more[..]].concat();
        assert_answered(&load(lab, CLIENT, "http://half:8080/", &words), 200);
    }
}

fn all_refuse(lab: &mut Lab) {
    let ask = |lab: &Lab| {
        let began = Instant::now();
        let words = ["curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "http://none:8080/"];
        let out = lab.exec(CLIENT, &words).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "after {:?}", began.elapsed());
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    // Curl's 52 and 56: the server ended the connection without an answer, or reset it.
    let (code, _) = ask(lab);
    assert!([52, 56].contains(&code), "curl ended with {code}");
    apply(lab, &route("none", "  http:\n  - route: [{destination: {host: none}}]\n"));
    until("requests are answered with 503", SOON, || (ask(lab) == (0, "503".to_owned())).then_some(())).unwrap();
}
