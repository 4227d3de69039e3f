//! Every field of the Gateway API's HTTPRoute and GRPCRoute with a Service as parent, with what arrives and comes back.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::time::Duration;

use serde_json::Value;
use underpass_tests::{Lab, until};

use crate::gateway_tables::{FILTERS, MATCHES, REFERENCES};
use crate::http_case::{Answer, Case, check};
use crate::scene::{Pod, SOON, answering, apply, assert_share, client, delete, http, lab, load, number, through};

const CLIENT: &str = "east/default/client";
const GUEST: &str = "east/other/guest";
const SHOP: &str = "http://shop:8080";
const SHOP_OF_DEFAULT: &str = "http://shop.default:8080";

#[test]
fn gateway_fields() {
    let mut lab = lab("lbgateway", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, app, version, node| Pod { name, app, version, node, container: http(8080) }.text();
    let other = |text: String| text.replace("metadata: {name:", "metadata: {namespace: other, name:");
    let ports = "[{name: http, port: 8080}, {name: http-more, port: 8081, targetPort: 8080}]";
    let scene = [
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}\n"
            .to_owned(),
        client("client", "e1") + &other(client("guest", "e1")),
        pod("shop-v1", "shop", "v1", "e1") + &pod("shop-v2", "shop", "v2", "e2"),
        pod("copies", "copies", "v1", "e2") + &other(pod("far", "far", "v1", "e2")),
        selecting("shop", "{app: shop}", ports) + &selecting("copies", "{app: copies}", ports),
        selecting("shop-v1", "{app: shop, version: v1}", ports),
        selecting("shop-v2", "{app: shop, version: v2}", ports),
        selecting("empty", "{app: nobody}", ports),
        selecting("calls", "{app: shop}", "[{name: grpc, port: 8080}]"),
        other(selecting("granted", "{app: far}", ports) + &selecting("refused", "{app: far}", ports)),
        "---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {namespace: other, name: g}\n\
         spec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n  \
         to: [{group: '', kind: Service, name: granted}]\n"
            .to_owned(),
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, SHOP);
    through(
        lab,
        &[
            ("matches", matches),
            ("filters, timeouts, retry", filters),
            ("backends that are there, and those that are not", references),
            ("status", statuses),
            ("mirrors, at the rule and at the backend", mirrors),
            ("weights", weights),
            ("precedence between rules and between routes", precedence),
            ("parentRef: port, sectionName", parents),
            ("producer and consumer routes", consumers),
            ("a route comes before a VirtualService", before_virtual_service),
            ("GRPCRoute", calls),
        ],
    );
}

/// A Service with this selector and these ports.
fn selecting(name: &str, selector: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {selector}\n  ports: {ports}\n"
    )
}

/// A route of that kind, with rules in flow style.
fn route(kind: &str, name: &str, parent: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, {parent}}}]\n  rules:\n{rules}"
    )
}

/// The rule that leads all else to version 1, with a mark in its answers.
fn rest(mark: &str) -> String {
    let filter =
        format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: mark, value: {mark}}}]}}}}");
    let rule = format!("{{filters: [{filter}], backendRefs: [{{name: shop-v1, port: 8080}}]}}");
    route("HTTPRoute", "zz-rest", "name: shop", &[&rule])
}

/// Puts routes in force and waits until they are.
fn in_force(lab: &mut Lab, text: &str) {
    let mark = format!("mark{}", fastrand::u32(..));
    apply(lab, &(text.to_owned() + &rest(&mark)));
    until("the routes are in force", SOON, || {
        (Answer::to(lab, CLIENT, &format!("{SHOP}/nothing"), &[]).says("<mark") == mark).then_some(())
    })
    .unwrap();
}

/// Puts a table in force, asks all of it and takes it away again.
fn table(lab: &mut Lab, cases: &[Case]) -> String {
    let text: String = cases.iter().enumerate().map(|(at, case)| case.http_route(at)).collect();
    in_force(lab, &text);
    check(lab, CLIENT, SHOP, cases);
    text
}

fn matches(lab: &mut Lab) {
    let text = table(lab, MATCHES);
    delete(lab, &text);
}

fn filters(lab: &mut Lab) {
    let text = table(lab, FILTERS);
    let seen: Value = {
        let pod = lab.pod("east/default/shop-v2").unwrap().v4;
        serde_json::from_str(&lab.exec_ok(CLIENT, &["curl", "-s", &format!("http://{pod}:8080/seen")]).unwrap())
            .unwrap()
    };
    assert_eq!(["g1", "g2", "g3"].map(|id| number(&seen[id])), [3, 3, 1], "{seen:#}");
    delete(lab, &text);
}

fn references(lab: &mut Lab) {
    table(lab, REFERENCES);
}

/// A condition of a route, as `status reason`.
fn condition(lab: &Lab, kind: &str, name: &str, r#type: &str) -> String {
    let snapshot = lab.agent_of(CLIENT).unwrap().admin("/snapshot").unwrap();
    let all = snapshot["gatewayApi"].as_array().unwrap();
    let one = all.iter().find(|one| one["kind"] == kind && one["name"] == name);
    let one = one.unwrap_or_else(|| panic!("no {kind} {name}: {all:#?}"));
    let conditions = one["status"]["parents"][0]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == r#type).unwrap();
    format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

fn statuses(lab: &mut Lab) {
    let lost = [
        route("HTTPRoute", "orphan", "name: nobody, port: 8080", &["{backendRefs: [{name: shop-v1, port: 8080}]}"]),
        route("HTTPRoute", "portless", "name: shop, port: 9", &["{backendRefs: [{name: shop-v1, port: 8080}]}"]),
        route("TCPRoute", "late", "name: shop, port: 8080", &["{backendRefs: [{name: shop-v1, port: 8080}]}"]),
    ]
    .concat();
    in_force(lab, &lost);
    let of = |lab: &Lab, at: usize| condition(lab, "HTTPRoute", &format!("c{at:02}"), "ResolvedRefs");
    let reasons: Vec<String> = (0..8).map(|at| of(lab, at)).collect();
    let wanted = [
        "False BackendNotFound",
        "False BackendNotFound",
        "False InvalidKind",
        "True ResolvedRefs",
        "True ResolvedRefs",
        "True ResolvedRefs",
        "True ResolvedRefs",
        "False RefNotPermitted",
    ];
    assert_eq!(reasons, wanted);
    assert_eq!(condition(lab, "HTTPRoute", "c00", "Accepted"), "True Accepted");
    assert_eq!(condition(lab, "HTTPRoute", "orphan", "Accepted"), "False NoMatchingParent");
    assert_eq!(condition(lab, "HTTPRoute", "portless", "Accepted"), "False NoMatchingParent");
    assert_eq!(condition(lab, "TCPRoute", "late", "Accepted"), "False Conflicted");
    // A grant that goes takes the right with it.
    delete(lab, "kind: ReferenceGrant\nmetadata: {namespace: other, name: g}\n");
    until("without the grant it is refused", SOON, || {
        (Answer::to(lab, CLIENT, &format!("{SHOP}/c06"), &[]).status == "500").then_some(())
    })
    .unwrap();
    assert_eq!(of(lab, 6), "False RefNotPermitted");
    let cases: String = REFERENCES.iter().enumerate().map(|(at, case)| case.http_route(at)).collect();
    delete(lab, &(lost + &cases));
}

fn copies(lab: &Lab, path: &str) -> u64 {
    let text = lab.exec_ok(CLIENT, &["curl", "-s", "http://copies:8080/seen"]).unwrap();
    number(&serde_json::from_str::<Value>(&text).unwrap()[path])
}

fn mirrors(lab: &mut Lab) {
    let mirror = |share: &str| {
        format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: copies, port: 8080}}{share}}}}}")
    };
    let rule = |path: &str, share: &str| {
        format!(
            "{{matches: [{{path: {{value: {path}}}}}], filters: [{}], backendRefs: [{{name: shop-v2, port: 8080}}]}}",
            mirror(share)
        )
    };
    let rules = [
        rule("/m/all", ""),
        rule("/m/percent", ", percent: 50"),
        rule("/m/fraction", ", fraction: {numerator: 1, denominator: 4}"),
        format!(
            "{{matches: [{{path: {{value: /m/backend}}}}], backendRefs: [{{name: shop-v2, port: 8080, filters: [{}]}}]}}",
            mirror("")
        ),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let text = route("HTTPRoute", "mirrors", "name: shop", &rules);
    in_force(lab, &text);
    for (path, count) in [("all", 5), ("percent", 200), ("fraction", 200), ("backend", 5)] {
        let seen = load(lab, CLIENT, &format!("{SHOP}/m/{path}"), &["--requests", &count.to_string()]);
        assert_eq!(number(&seen["by_version"]["v2"]), count, "{seen:#}");
    }
    for path in ["/m/all", "/m/backend"] {
        until("every copy arrives", SOON, || (copies(lab, path) == 5).then_some(())).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_share(copies(lab, "/m/percent"), 200, 0.5);
    assert_share(copies(lab, "/m/fraction"), 200, 0.25);
    delete(lab, &text);
}

fn weights(lab: &mut Lab) {
    let rules = [
        "{matches: [{path: {value: /w/split}}], backendRefs: [{name: shop-v1, port: 8080, weight: 3}, \
         {name: shop-v2, port: 8080}]}",
        "{matches: [{path: {value: /w/half}}], backendRefs: [{name: shop-v1, port: 8080}, {name: nobody, port: 8080}]}",
    ];
    let text = route("HTTPRoute", "weights", "name: shop", &rules);
    in_force(lab, &text);
    let split = load(lab, CLIENT, &format!("{SHOP}/w/split"), &["--requests", "400"]);
    assert_share(number(&split["by_version"]["v2"]), 400, 0.25);
    let half = load(lab, CLIENT, &format!("{SHOP}/w/half"), &["--requests", "400"]);
    assert_share(number(&half["statuses"]["500"]), 400, 0.5);
    delete(lab, &text);
}

fn precedence(lab: &mut Lab) {
    // Each answers with its own name; the order in which they stand says nothing.
    let rule = |name: &str, matching: &str| {
        let says = format!(
            "{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: took, value: {name}}}]}}}}"
        );
        format!(
            "{{name: {name}, matches: [{{{matching}}}], filters: [{says}], backendRefs: [{{name: shop-v1, port: 8080}}]}}"
        )
    };
    let rules = [
        rule("short", "path: {value: /p}"),
        rule("query", "path: {value: /p/long}, queryParams: [{name: q, value: a}]"),
        rule("long", "path: {value: /p/long}"),
        rule("header", "path: {value: /p/long}, headers: [{name: a, value: '1'}]"),
        rule("headers", "path: {value: /p/long}, headers: [{name: a, value: '1'}, {name: b, value: '2'}]"),
        rule("method", "path: {value: /p/long}, method: PUT"),
        rule("exact", "path: {type: Exact, value: /p/long}"),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let aged = |name: &str, created: &str| {
        let text = route("HTTPRoute", name, "name: shop", &[&rule(name, "path: {value: /p/age}")]);
        text.replace("metadata: {", &format!("metadata: {{creationTimestamp: '{created}', "))
    };
    let text = [
        route("HTTPRoute", "rules", "name: shop", &rules),
        aged("younger-a", "2026-02-01T00:00:00Z"),
        aged("older", "2026-01-01T00:00:00Z"),
        route("HTTPRoute", "b-name", "name: shop", &[&rule("b-name", "path: {value: /p/name}")]),
        route("HTTPRoute", "a-name", "name: shop", &[&rule("a-name", "path: {value: /p/name}")]),
    ]
    .concat();
    in_force(lab, &text);
    let took = |path: &str, more: &[&str]| Answer::to(lab, CLIENT, &format!("{SHOP}{path}"), more).says("<took");
    let cases: [(&str, &[&str], &str); 9] = [
        ("/p/other", &[], "short"),
        ("/p/long/x", &[], "long"),
        ("/p/long", &["-X", "PUT"], "exact"),
        ("/p/long/x", &["-X", "PUT", "-H", "a: 1", "-H", "b: 2"], "method"),
        ("/p/long/x?q=a", &["-H", "a: 1"], "header"),
        ("/p/long/x", &["-H", "a: 1", "-H", "b: 2"], "headers"),
        ("/p/long/x?q=a", &[], "query"),
        ("/p/age", &[], "older"),
        ("/p/name", &[], "a-name"),
    ];
    for (path, more, name) in cases {
        assert_eq!(took(path, more), name, "{path} {more:?}");
    }
    let snapshot = lab.agent_of(CLIENT).unwrap().admin("/snapshot").unwrap().to_string();
    assert!(snapshot.contains("\"name\":\"headers\""), "the snapshot has the rules' names");
    delete(lab, &text);
}

fn parents(lab: &mut Lab) {
    let to = "{backendRefs: [{name: shop-v2, port: 8080}]}";
    let text = route("HTTPRoute", "one-port", "name: copies, port: 8081", &[to])
        + &route("HTTPRoute", "one-section", "name: shop-v1, sectionName: http-more", &[to]);
    in_force(lab, &text);
    let version = |url: &str| Answer::to(lab, CLIENT, url, &[]).says("pod");
    let seen =
        ["copies:8080", "copies:8081", "shop-v1:8080", "shop-v1:8081"].map(|host| version(&format!("http://{host}/")));
    assert_eq!(seen, ["copies", "shop-v2", "shop-v1", "shop-v2"]);
    delete(lab, &text);
}

fn consumers(lab: &mut Lab) {
    let other = |text: String| text.replace("metadata: {", "metadata: {namespace: other, ");
    let to = "{backendRefs: [{name: shop-v2, namespace: default, port: 8080}]}";
    let text = other(route("HTTPRoute", "mine", "namespace: default, name: shop", &[to]));
    apply(lab, &text);
    let version = |lab: &Lab, pod: &str| Answer::to(lab, pod, &format!("{SHOP_OF_DEFAULT}/x"), &[]).says("version");
    until("the consumer's route is for its namespace", SOON, || (version(lab, GUEST) == "v2").then_some(())).unwrap();
    assert_eq!(version(lab, CLIENT), "v1", "the producer's is for all others");
    delete(lab, &text);
    until("without it the producer's is for all", SOON, || (version(lab, GUEST) == "v1").then_some(())).unwrap();
}

fn before_virtual_service(lab: &mut Lab) {
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\nspec:\n  hosts: [shop]\n  \
                http: [{directResponse: {status: 418}}]\n";
    apply(lab, rule);
    in_force(lab, "");
    assert_eq!(Answer::to(lab, CLIENT, SHOP, &[]).status, "200");
    delete(lab, &rest("x"));
    until("without the route the VirtualService answers", SOON, || {
        (Answer::to(lab, CLIENT, SHOP, &[]).status == "418").then_some(())
    })
    .unwrap();
    delete(lab, rule);
}

fn calls(lab: &mut Lab) {
    let to = "backendRefs: [{name: shop-v2, port: 8080}]";
    let rules = [
        format!("{{matches: [{{method: {{service: a.Shop, method: Buy}}}}], {to}}}"),
        format!("{{matches: [{{method: {{service: a.Whole}}}}], {to}}}"),
        format!("{{matches: [{{method: {{type: RegularExpression, service: 'b[.].*', method: 'G.*'}}}}], {to}}}"),
        format!("{{matches: [{{headers: [{{name: user, value: jason}}]}}], {to}}}"),
        format!(
            "{{matches: [{{method: {{service: a.Filtered}}}}], filters: [{{type: ResponseHeaderModifier, \
             responseHeaderModifier: {{set: [{{name: filtered, value: yes-it-is}}]}}}}], {to}}}"
        ),
        "{matches: [{method: {service: a.Nobody}}], backendRefs: [{name: nobody, port: 8080}]}".to_owned(),
        "{backendRefs: [{name: shop-v1, port: 8080}]}".to_owned(),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    apply(lab, &route("GRPCRoute", "calls", "name: calls", &rules));
    let call = |path: &str, more: &[&str]| {
        let words = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-X", "POST"];
        Answer::to(lab, CLIENT, &format!("http://calls:8080{path}"), &[&words[..], more].concat())
    };
    until("the route is in force", SOON, || (call("/a.Nobody/Any", &[]).says("<grpc-status") == "14").then_some(()))
        .unwrap_or_else(|error| {
            let seen = call("/a.Nobody/Any", &[]);
            panic!("{error:#}: {} {:?} {}", seen.status, seen.headers, seen.body)
        });
    let cases: [(&str, &[&str], &str); 7] = [
        ("/a.Shop/Buy", &[], "v2"),
        ("/a.Shop/Sell", &[], "v1"),
        ("/a.Whole/Any", &[], "v2"),
        ("/b.Some/Get", &[], "v2"),
        ("/b.Some/Put", &[], "v1"),
        ("/c.Other/Any", &["-H", "user: jason"], "v2"),
        ("/c.Other/Any", &[], "v1"),
    ];
    for (path, more, version) in cases {
        assert_eq!(call(path, more).says("<x-pod-version"), version, "{path} {more:?}");
    }
    assert_eq!(call("/a.Filtered/Any", &[]).says("<filtered"), "yes-it-is");
}
