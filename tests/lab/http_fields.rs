//! Every field of VirtualService's http rules, with what arrives and what comes back.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::time::Duration;

use underpass_tests::{Lab, until};

use crate::http_case::{Answer, Case, check};
use crate::http_tables::{ACTIONS, MATCHES, V2};
use crate::scene::{Pod, SOON, answering, apply, client, http, lab, load, number, service, sleeping, through};

const CLIENT: &str = "east/default/client";
const SHOP: &str = "http://shop:8080";

const SUBSETS: &str = "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

#[test]
fn http_fields() {
    let mut lab = lab("lbfields", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let other =
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}\n";
    let scene = [
        client("client", "e1")
            + other
            + &client("guest", "e1").replace("{name: guest,", "{namespace: other, name: guest,"),
        service("shop", "http", 8080) + &service("copies", "http", 8080) + &service("half", "http", 8080),
        pod("shop-v1", "shop", "v1", "e1", http(8080)) + &pod("shop-v2", "shop", "v2", "e2", http(8080)),
        pod("copies", "copies", "v1", "e2", http(8080)),
        pod("half-1", "half", "v1", "e2", http(8080)) + &pod("half-2", "half", "v2", "e2", sleeping()),
        SUBSETS.to_owned(),
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, "http://shop:8080/");
    answering(&lab, CLIENT, "http://copies:8080/");
    through(
        lab,
        &[
            ("matches", matches),
            ("headers, redirects, rewrites, answers, CORS", actions),
            ("faults", faults),
            ("timeouts and retries", retries),
            ("mirrors", mirrors),
            ("delegates", delegates),
        ],
    );
}

fn virtual_service(name: &str, head: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n{head}{rules}"
    )
}

/// Puts the cases in force, before a rule that leads all else to version 1.
fn in_force(lab: &mut Lab, cases: &[Case], more: &str) {
    let rules: String = cases.iter().enumerate().map(|(at, case)| case.rule(at)).collect();
    let mark = format!("mark{}", fastrand::u32(..));
    let last = format!(
        "  - headers: {{response: {{set: {{mark: {mark}}}}}}}\n    route: [{{destination: {{host: shop, subset: v1}}}}]\n"
    );
    let text = virtual_service("shop", "  hosts: [shop, shop.example]\n  http:\n", &(rules + &last));
    apply(lab, &(text + more));
    until("the rules are in force", SOON, || {
        (Answer::to(lab, CLIENT, &format!("{SHOP}/"), &[]).says("<mark") == mark).then_some(())
    })
    .unwrap();
}

fn matches(lab: &mut Lab) {
    in_force(lab, MATCHES, "");
    check(lab, CLIENT, SHOP, MATCHES);
    // The same rules as a client of another namespace and with other labels meets them.
    let guest = |field: &str| {
        let at = MATCHES.iter().position(|case| case.field == field).unwrap();
        let url = format!("http://shop.default:8080{}", MATCHES[at].path(at));
        Answer::to(lab, "east/other/guest", &url, &[]).says("version")
    };
    let seen = ["sourceLabels", "sourceLabels other", "sourceNamespace", "sourceNamespace other"].map(guest);
    assert_eq!(seen, ["v1", "v2", "v1", "v2"]);
}

fn actions(lab: &mut Lab) {
    in_force(lab, ACTIONS, "");
    check(lab, CLIENT, SHOP, ACTIONS);
}

fn faults(lab: &mut Lab) {
    let case = |field, action, asks| Case { field, matching: "", action, asks };
    let cases = [
        case(
            "fault.abort",
            "fault: {abort: {httpStatus: 555, percentage: {value: 100}}}\n{to}",
            &[(&[], "", &[("status", "555")])],
        ),
        case(
            "fault.abort never",
            "fault: {abort: {httpStatus: 555, percentage: {value: 0}}}\n{to}",
            &[(&[], "", &[("status", "200")])],
        ),
        case(
            "fault.abort.grpcStatus",
            "fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}\n{to}",
            &[(
                &["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-X", "POST"],
                "",
                &[("<grpc-status", "14")],
            )],
        ),
        case("fault.delay", "fault: {delay: {fixedDelay: 700ms, percentage: {value: 100}}}\n{to}", &[(&[], "", V2)]),
        case("fault.delay half", "fault: {abort: {httpStatus: 555, percentage: {value: 50}}}\n{to}", &[]),
    ];
    in_force(lab, &cases, "");
    check(lab, CLIENT, SHOP, &cases);
    let delayed = Answer::to(lab, CLIENT, &format!("{SHOP}{}", cases[3].path(3)), &[]);
    assert!(delayed.took > Duration::from_millis(700) && delayed.took < Duration::from_secs(3), "{:?}", delayed.took);
    let half = load(lab, CLIENT, &format!("{SHOP}{}", cases[4].path(4)), &["--requests", "400"]);
    crate::scene::assert_share(number(&half["statuses"]["555"]), 400, 0.5);
}

fn retries(lab: &mut Lab) {
    let case = |field, action, asks| Case { field, matching: "", action, asks };
    let cases = [
        case(
            "timeout",
            "timeout: 300ms\nrewrite: {uri: /}\n{to}",
            &[(&[], "delay/2000", &[("status", "504")]), (&[], "delay/1", &[("status", "200")])],
        ),
        case(
            "retries.attempts",
            "retries: {attempts: 3, retryOn: 5xx}\nrewrite: {uri: /}\n{to}",
            &[
                (&["-H", "x-request-id: r1"], "fail/2", &[("status", "200")]),
                (&["-H", "x-request-id: r2"], "fail/9", &[("status", "503")]),
                (&["-H", "x-request-id: r3", "-d", "a body"], "fail/2", &[("status", "200")]),
            ],
        ),
        case(
            "retries none",
            "retries: {attempts: 0}\nrewrite: {uri: /}\n{to}",
            &[(&["-H", "x-request-id: r4"], "fail/1", &[("status", "503")])],
        ),
        case(
            "retries.perTryTimeout",
            "timeout: 5s\nretries: {attempts: 1, perTryTimeout: 200ms, retryOn: 5xx}\nrewrite: {uri: /}\n{to}",
            &[(&[], "delay/2000", &[("status", "504")])],
        ),
        case(
            "retries.retryOn codes",
            "retries: {attempts: 2, retryOn: '418'}\nrewrite: {uri: /}\n{to}",
            &[
                (&["-H", "x-request-id: r5"], "status/418?x", &[("status", "418")]),
                (&["-H", "x-request-id: r6"], "fail/1", &[("status", "503")]),
            ],
        ),
    ];
    in_force(lab, &cases, "");
    check(lab, CLIENT, SHOP, &cases);
    let seen: serde_json::Value = {
        let pod = lab.pod("east/default/shop-v2").unwrap().v4;
        let text = lab.exec_ok(CLIENT, &["curl", "-s", &format!("http://{pod}:8080/seen")]).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let times = |id: &str| number(&seen[id]);
    assert_eq!(["r1", "r2", "r3", "r4", "r6"].map(times), [3, 4, 3, 1, 1], "{seen:#}");
    assert_eq!(times("/status/418"), 3, "one and two repetitions: {seen:#}");
    assert_eq!(times("/delay/2000"), 3, "one of `timeout`, two of `perTryTimeout`: {seen:#}");
}

fn mirrors(lab: &mut Lab) {
    let case = |field, action, asks| Case { field, matching: "", action, asks };
    let cases = [
        case("mirror", "mirror: {host: copies}\nmirrorPercentage: {value: 100}\n{to}", &[(&["-d", "x"], "", V2)]),
        case("mirrors", "mirrors: [{destination: {host: copies}, percentage: {value: 50}}]\n{to}", &[]),
    ];
    in_force(lab, &cases, "");
    check(lab, CLIENT, SHOP, &cases);
    let seen = load(lab, CLIENT, &format!("{SHOP}{}", cases[1].path(1)), &["--requests", "200"]);
    assert_eq!(number(&seen["by_version"]["v2"]), 200, "{seen:#}");
    let copies = |path: String| {
        let text = lab.exec_ok(CLIENT, &["curl", "-s", "http://copies:8080/seen"]).unwrap();
        number(&serde_json::from_str::<serde_json::Value>(&text).unwrap()[path.as_str()])
    };
    until("the copy arrives", SOON, || (copies(cases[0].path(0)) == 1).then_some(())).unwrap();
    until("about half is copied", SOON, || (copies(cases[1].path(1)) > 60).then_some(())).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    crate::scene::assert_share(copies(cases[1].path(1)), 200, 0.5);
}

fn delegates(lab: &mut Lab) {
    let case = |field, action, asks| Case { field, matching: "", action, asks };
    let cases = [case(
        "delegate",
        "delegate: {name: below}",
        &[(&[], "/two", V2), (&[], "/one", &[("version", "v1"), ("path", "{path}/one")])],
    )];
    let below = "  http:\n  - match: [{uri: {prefix: /c00/two}}]\n    route: [{destination: {host: shop, subset: v2}}]\n  \
                 - route: [{destination: {host: shop, subset: v1}}]\n";
    in_force(lab, &cases, &virtual_service("below", "", below));
    check(lab, CLIENT, SHOP, &cases);
}
