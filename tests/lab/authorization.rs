//! AuthorizationPolicy by everything that a connection has: each field and each action, allowed and denied, for pods of
//! one node, through `underpass/1`, through HBONE, and for plaintext from outside.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use serde_json::Value;
use underpass_tests::{Agent, Lab, until};

use crate::authorization_open;
use crate::authorization_probe::{SERVERS, address, passes, policy, server, settled, up, who, with};
use crate::egress;
use crate::pair::{finding, no_finding};
use crate::scene::{SOON, apply, apply_to, delete, through};

#[test]
fn authorization() {
    through(
        up("authz"),
        &[
            ("actions, and policies without rules", actions),
            ("from: principals, namespaces, serviceAccounts, ipBlocks", from),
            ("to: ports; when", to_and_when),
            ("several policies and several rules", several),
            ("what only a request has allows nothing, and denies by the rest", needs_requests),
            ("selector, namespace, mesh, targetRefs", scopes),
            ("a policy that cannot be read denies what it selects", unreadable),
            ("what operators see of a refusal", told),
            ("a changed policy ends open connections, and only those that it denies", authorization_open::changes),
            ("AUDIT and dry runs are told of and have no effect", authorization_open::told),
            ("outboundTrafficPolicy of Sidecars", egress::sidecars),
            ("--outbound-traffic-policy", egress::flag),
        ],
    );
}

/// A policy, who gets through to port 9000, who to 9001 with it.
type Case<'a> = (&'a str, &'a str, &'a str);

/// Each in place of the one before, which has to let others through, or it would not be seen that it is in force.
fn each(lab: &mut Lab, cases: &[Case<'_>]) {
    let mut last = ("abo", "abo");
    for (spec, first, second) in cases {
        assert_ne!(last, (*first, *second), "{spec} is not told from the one before");
        apply(lab, &policy("tested", "default", spec));
        // What differs is waited for; by then the rest is so too.
        let ports = if last.0 == *first { [(9001, second), (9000, first)] } else { [(9000, first), (9001, second)] };
        for (port, wanted) in ports {
            settled(lab, spec, port, &SERVERS.map(|_| (*wanted).to_owned()));
        }
        last = (*first, *second);
    }
    delete(lab, &policy("tested", "default", "{}"));
    settled(lab, "without a policy", 9000, &SERVERS.map(|_| "abo".to_owned()));
}

/// Cases of one field of `from`.
fn sources(lab: &mut Lab, cases: &[(&str, &str)]) {
    let specs: Vec<_> =
        cases.iter().map(|(source, _)| format!("{{rules: [{{from: [{{source: {{{source}}}}}]}}]}}")).collect();
    let cases: Vec<Case<'_>> = specs.iter().zip(cases).map(|(spec, (_, who))| (spec.as_str(), *who, *who)).collect();
    each(lab, &cases);
}

fn actions(lab: &mut Lab) {
    let alice = "from: [{source: {principals: [cluster.local/ns/default/sa/alice]}}]";
    let (allow, deny) = (format!("{{rules: [{{{alice}}}]}}"), format!("{{action: DENY, rules: [{{{alice}}}]}}"));
    each(
        lab,
        &[
            ("{}", "", ""),
            ("{rules: [{}]}", "abo", "abo"),
            ("{action: DENY, rules: [{}]}", "", ""),
            (&allow, "a", "a"),
            (&deny, "bo", "bo"),
            ("{action: ALLOW, rules: []}", "", ""),
        ],
    );
}

fn from(lab: &mut Lab) {
    let ip = |pod: &str| address(lab, pod, 1).ip();
    let (bob, outsider) = (ip("east/other/bob"), ip("east/default/outsider"));
    let one = format!("ipBlocks: [{outsider}]");
    let two = format!("ipBlocks: [{bob}/32, {outsider}/32]");
    let neither = format!("notIpBlocks: [{bob}, {outsider}]");
    sources(
        lab,
        &[
            ("principals: [cluster.local/ns/other/*]", "b"),
            ("principals: ['*/sa/alice']", "a"),
            ("principals: ['*']", "ab"),
            ("principals: [cluster.local/ns/default/sa/nobody, '*/sa/bob']", "b"),
            ("notPrincipals: ['*/sa/alice']", "bo"),
            ("notPrincipals: ['*']", "o"),
            ("namespaces: [other]", "b"),
            ("namespaces: ['def*']", "a"),
            ("notNamespaces: [default]", "bo"),
            ("serviceAccounts: [alice]", "a"),
            ("serviceAccounts: [other/bob]", "b"),
            ("trustDomains: [cluster.local]", "ab"),
            ("notTrustDomains: [cluster.local]", "o"),
            ("notServiceAccounts: [other/bob]", "ao"),
            (&one, "o"),
            (&two, "bo"),
            (&neither, "a"),
            ("namespaces: [default], notPrincipals: ['*/sa/alice']", ""),
        ],
    );
}

fn to_and_when(lab: &mut Lab) {
    let ip = |pod: &str| address(lab, pod, 1).ip();
    let bob = ip("east/other/bob");
    let servers = SERVERS.map(|name| ip(&server(name)).to_string()).join(", ");
    let to = |operation: &str| format!("{{rules: [{{to: [{{operation: {{{operation}}}}}]}}]}}");
    let when = |key: &str, values: &str| format!("{{rules: [{{when: [{{key: {key}, {values}}}]}}]}}");
    let deny = "{action: DENY, rules: [{to: [{operation: {ports: ['9000']}}]}]}";
    let ports = (to("ports: ['9001', '7']"), to("notPorts: ['9001']"));
    let is_bob =
        (when("source.ip", &format!("values: ['{bob}']")), when("source.ip", &format!("notValues: ['{bob}']")));
    let port = (when("destination.port", "values: ['9000']"), when("destination.port", "notValues: ['9000']"));
    let principal = (when("source.principal", "values: ['*/sa/bob']"), when("source.principal", "notValues: ['*']"));
    let account = when("source.serviceAccount", "values: [other/bob]");
    let namespace = when("source.namespace", "values: [default]");
    let here = (
        when("destination.ip", &format!("values: [{servers}]")),
        when("destination.ip", &format!("notValues: [{servers}]")),
    );
    // A connection that is no TLS of the client's own has no such name.
    let sni = when("connection.sni", "values: ['*']");
    each(
        lab,
        &[
            (deny, "", "abo"),
            (&ports.1, "abo", ""),
            (&ports.0, "", "abo"),
            (&is_bob.0, "b", "b"),
            (&is_bob.1, "ao", "ao"),
            (&port.0, "abo", ""),
            (&port.1, "", "abo"),
            (&principal.0, "b", "b"),
            (&principal.1, "o", "o"),
            (&namespace, "a", "a"),
            (&account, "b", "b"),
            (&here.0, "abo", "abo"),
            (&here.1, "", ""),
            (&namespace, "a", "a"),
            (&sni, "", ""),
        ],
    );
}

fn several(lab: &mut Lab) {
    let rule = |account: &str, port: u16| {
        format!(
            "{{from: [{{source: {{principals: ['*/sa/{account}']}}}}], to: [{{operation: {{ports: ['{port}']}}}}]}}"
        )
    };
    let (alice, bob) = (rule("alice", 9000), rule("bob", 9001));
    each(lab, &[(&format!("{{rules: [{alice}, {bob}]}}"), "a", "b")]);
    // DENY counts first; what several ALLOW policies allow adds up.
    let all = [
        policy("one", "default", &format!("{{rules: [{alice}]}}")),
        policy("two", "default", "{rules: [{from: [{source: {namespaces: [other]}}]}]}"),
        policy("three", "default", &format!("{{action: DENY, rules: [{bob}]}}")),
    ];
    with(lab, &all.concat(), |lab| {
        settled(lab, "three policies", 9000, &SERVERS.map(|_| "ab".to_owned()));
        settled(lab, "three policies", 9001, &SERVERS.map(|_| String::new()));
    });
}

fn needs_requests(lab: &mut Lab) {
    let deny = "{action: DENY, rules: [{from: [{source: {notPrincipals: ['*/sa/bob']}}], to: [{operation: \
                {methods: [GET], ports: ['9000']}}]}]}";
    let or_bob = "{rules: [{to: [{operation: {paths: [/open]}}]}, {from: [{source: {principals: ['*/sa/bob']}}]}]}";
    each(lab, &[("{rules: [{to: [{operation: {methods: [GET]}}]}]}", "", ""), (deny, "b", "abo"), (or_bob, "b", "b")]);
}

fn scopes(lab: &mut Lab) {
    let deny = "action: DENY, rules: [{from: [{source: {principals: ['*']}}]}]";
    let none = || "o".to_owned();
    let all = || "abo".to_owned();
    for (text, wanted) in [
        (
            policy("tested", "default", &format!("{{selector: {{matchLabels: {{app: far}}}}, {deny}}}")),
            [all(), none(), all()],
        ),
        (
            policy("tested", "default", &format!("{{targetRefs: [{{kind: Service, group: '', name: near}}], {deny}}}")),
            [none(), all(), all()],
        ),
        (policy("tested", "istio-system", &format!("{{{deny}}}")), [none(), none(), none()]),
        (
            policy("tested", "istio-system", &format!("{{selector: {{matchLabels: {{app: tunnelled}}}}, {deny}}}")),
            [all(), all(), none()],
        ),
    ] {
        with(lab, &text, |lab| settled(lab, &text, 9000, &wanted));
    }
    // A policy of another namespace is for nobody here; that it is in force shows in one beside it.
    let beside = policy("beside", "default", &format!("{{selector: {{matchLabels: {{app: far}}}}, {deny}}}"));
    let text = policy("tested", "other", "{}") + &beside;
    with(lab, &text, |lab| settled(lab, "another namespace's", 9000, &[all(), none(), all()]));
}

fn unreadable(lab: &mut Lab) {
    let text = policy("tested", "default", "{selector: {matchLabels: {app: far}}, rules: [{form: []}]}");
    apply_to(lab, "east", &text);
    settled(lab, "cannot be read", 9000, &["abo".into(), String::new(), "abo".into()]);
    let agent = lab.agent("east", "u2").unwrap();
    let found = finding(&agent, "policy-denies").unwrap();
    assert_eq!(found["severity"], "error", "{found:#}");
    assert!(found["at"].as_str().unwrap().contains("authorizationpolicy/tested.yaml:"), "{found:#}");
    delete(lab, &text);
    settled(lab, "it is gone", 9000, &SERVERS.map(|_| "abo".to_owned()));
    no_finding(&agent, "policy-denies").unwrap();
}

/// The last line of a direction about a server, with this flag.
fn line(agent: &Agent, direction: &str, about: &str, client: &str) -> Value {
    let fits = |line: &Value| {
        let known = line["dst.workload"] == about && line["src.workload"] == client;
        line["direction"] == direction && known && line["response_flags"] == "DENY"
    };
    let found = until("a line of the access log", SOON, || agent.access_log().into_iter().rev().find(fits));
    found.unwrap_or_else(|error| panic!("{error:#}: {direction} from {client} to {about}"))
}

fn failures(agent: &Agent, labels: &[(&str, &str)]) -> f64 {
    agent.metrics().unwrap().sum("istio_tcp_connections_failed_total", labels)
}

fn told(lab: &mut Lab) {
    let text = policy("nobody", "default", "{action: DENY, rules: [{to: [{operation: {ports: ['1']}}]}, {}]}");
    with(lab, &text, |lab| {
        settled(lab, &text, 9000, &SERVERS.map(|_| String::new()));
        for (name, tunnel, security) in
            [("near", "", "none"), ("far", "underpass/1", "mutual_tls"), ("tunnelled", "hbone", "mutual_tls")]
        {
            let agent = lab.agent_of(&server(name)).unwrap();
            let seen = line(&agent, "inbound", name, "alice");
            assert_eq!((&seen["stage"], &seen["message"]), (&"policy".into(), &"connection failed".into()), "{seen:#}");
            let error = seen["error"].as_str().unwrap();
            assert!(error.contains("denied by AuthorizationPolicy default/nobody rules[1]"), "{seen:#}");
            assert_eq!(seen["tunnel"].as_str().unwrap_or_default(), tunnel, "{seen:#}");
            let labels = [
                ("reporter", "destination"),
                ("response_flags", "DENY"),
                ("request_protocol", "tcp"),
                ("source_principal", "spiffe://cluster.local/ns/default/sa/alice"),
                ("destination_workload", name),
                ("connection_security_policy", security),
            ];
            let before = failures(&agent, &labels);
            assert!(before >= 1.0, "{labels:?}");
            assert!(!passes(lab, "east/default/alice", address(lab, &server(name), 9000)));
            until("one more is counted", SOON, || (failures(&agent, &labels) == before + 1.0).then_some(()))
                .unwrap_or_else(|error| panic!("{error:#}: {} after {before}: {labels:?}", failures(&agent, &labels)));
            // The client's side is told too.
            let seen = line(&lab.agent("east", "u1").unwrap(), "outbound", name, "alice");
            assert_eq!(seen["stage"], "policy", "{seen:#}");
        }
        let agent = lab.agent("east", "u2").unwrap();
        let plain = line(&agent, "inbound", "far", "outsider");
        assert!(plain["src.identity"].is_null(), "{plain:#}");
        assert!(failures(&agent, &[("source_principal", "unknown"), ("response_flags", "DENY")]) >= 1.0);
    });
    // What no ALLOW policy allows names one of them.
    with(lab, &policy("few", "default", "{rules: [{to: [{operation: {ports: ['1']}}]}]}"), |lab| {
        settled(lab, "few", 9000, &SERVERS.map(|_| String::new()));
        let seen = line(&lab.agent("east", "u2").unwrap(), "inbound", "far", "bob");
        let error = seen["error"].as_str().unwrap();
        assert!(error.contains("AuthorizationPolicy default/few: no rule of an ALLOW policy"), "{seen:#}");
        assert_eq!(who(lab, &server("far"), 9001), "");
    });
}
