//! Every kind of object made, changed and deleted under load: no request and no connection is lost.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::process::Child;
use std::time::{Duration, Instant};

use underpass_tests::{Lab, until};

use crate::scene::{
    Pod, SOON, answering, apply, assert_echoed, assert_held, assert_unhurt, client, delete, finish, hold, http, lab,
    number, reachable, service, start, tcp, through,
};

const CLIENT: &str = "east/default/client";
const SHOP: &str = "http://shop:8080/";

/// How long one wave of load lasts; changes are begun only in its first part.
const WAVE: &str = "2.5";
const CHANGING: Duration = Duration::from_millis(1500);

/// Objects by what they are put after: kind, name, spec. An empty spec deletes.
type Change = (&'static str, &'static str, &'static str);

const ISTIO: &[Change] = &[
    ("VirtualService", "shop", "{hosts: [shop], http: [{route: [{destination: {host: shop}}]}]}"),
    (
        "DestinationRule",
        "shop",
        "{host: shop, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}",
    ),
    ("VirtualService", "shop", "{hosts: [shop], http: [{route: [{destination: {host: shop, subset: v1}}]}]}"),
    (
        "VirtualService",
        "shop",
        "{hosts: [shop], http: [{match: [{headers: {a: {exact: b}}}], fault: {abort: {httpStatus: 500, percentage: \
         {value: 100}}}, route: [{destination: {host: shop, subset: v1}}]}, {timeout: 5s, retries: {attempts: 2}, \
         headers: {request: {set: {x: y}}}, route: [{destination: {host: shop, subset: v1}, weight: 30}, {destination: \
         {host: shop, subset: v2}, weight: 70}]}]}",
    ),
    (
        "VirtualService",
        "shop",
        "{hosts: [shop], http: [{rewrite: {uri: /}, mirrors: [{destination: {host: shop, subset: v2}}], corsPolicy: \
         {allowOrigins: [{exact: a}]}, route: [{destination: {host: shop, subset: v2}}]}]}",
    ),
    ("VirtualService", "part", "{http: [{route: [{destination: {host: shop, subset: v1}}]}]}"),
    ("VirtualService", "shop", "{hosts: [shop], http: [{match: [{uri: {prefix: /}}], delegate: {name: part}}]}"),
    ("VirtualService", "part", "{http: [{route: [{destination: {host: shop, subset: v2}}]}]}"),
    ("VirtualService", "wide", "{hosts: ['*.default.svc.cluster.local'], http: [{directResponse: {status: 418}}]}"),
    ("VirtualService", "wide", ""),
    ("VirtualService", "shop", ""),
    ("VirtualService", "part", ""),
    ("DestinationRule", "shop", "{host: shop, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
    ("DestinationRule", "shop", "{host: shop, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}}"),
    (
        "DestinationRule",
        "shop",
        "{host: shop, trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}, http: {maxRequestsPerConnection: 5}}, \
         outlierDetection: {consecutive5xxErrors: 3}}}",
    ),
    ("DestinationRule", "shop", "{host: shop, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}}"),
    ("DestinationRule", "shop", "{host: shop, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"),
    ("DestinationRule", "shop", ""),
    ("VirtualService", "pipe", "{hosts: [pipe], tcp: [{route: [{destination: {host: pipe}}]}]}"),
    ("DestinationRule", "pipe", "{host: pipe, subsets: [{name: v1, labels: {version: v1}}]}"),
    ("VirtualService", "pipe", "{hosts: [pipe], tcp: [{route: [{destination: {host: pipe, subset: v1}}]}]}"),
    (
        "DestinationRule",
        "pipe",
        "{host: pipe, subsets: [{name: v1, labels: {version: v1}}], trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}",
    ),
    ("VirtualService", "pipe", ""),
    ("DestinationRule", "pipe", ""),
];

const GATEWAY_API: &[Change] = &[
    (
        "HTTPRoute",
        "shop",
        "{parentRefs: [{group: '', kind: Service, name: shop}], rules: [{backendRefs: [{name: shop, port: 8080}]}]}",
    ),
    (
        "HTTPRoute",
        "shop",
        "{parentRefs: [{group: '', kind: Service, name: shop}], rules: [{matches: [{path: {type: PathPrefix, value: \
         /}}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: b}]}}], \
         timeouts: {request: 5s}, backendRefs: [{name: shop-1, port: 8080, weight: 1}, {name: shop-2, port: 8080, \
         weight: 3}]}]}",
    ),
    (
        "HTTPRoute",
        "other",
        "{parentRefs: [{group: '', kind: Service, name: shop}], rules: [{matches: [{path: {type: Exact, value: /}}], \
         backendRefs: [{name: shop-2, port: 8080}]}]}",
    ),
    ("HTTPRoute", "shop", ""),
    ("HTTPRoute", "other", ""),
    (
        "TCPRoute",
        "pipe",
        "{parentRefs: [{group: '', kind: Service, name: pipe}], rules: [{backendRefs: [{name: pipe-1, port: 9000}]}]}",
    ),
    (
        "TCPRoute",
        "pipe",
        "{parentRefs: [{group: '', kind: Service, name: pipe}], rules: [{backendRefs: [{name: pipe-1, port: 9000, \
         weight: 1}, {name: pipe-2, port: 9000, weight: 2}]}]}",
    ),
    ("TCPRoute", "pipe", ""),
];

const SECURITY: &[Change] = &[
    ("PeerAuthentication", "default", "{mtls: {mode: STRICT}}"),
    ("PeerAuthentication", "default", "{mtls: {mode: PERMISSIVE}}"),
    ("PeerAuthentication", "default", ""),
    ("AuthorizationPolicy", "clients", "{rules: [{from: [{source: {namespaces: [default]}}]}]}"),
    ("AuthorizationPolicy", "clients", "{rules: [{from: [{source: {principals: ['*/sa/client']}}]}]}"),
    ("AuthorizationPolicy", "others", "{action: DENY, rules: [{from: [{source: {notNamespaces: [default]}}]}]}"),
    ("AuthorizationPolicy", "clients", ""),
    ("AuthorizationPolicy", "others", ""),
];

#[test]
fn live_changes() {
    let mut lab = lab("lblive", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let one = |name: &str, app: &str, version: &str, protocol: &str, port: u16| {
        service(name, protocol, port)
            .replace(&format!("{{app: {name}}}"), &format!("{{app: {app}, version: {version}}}"))
    };
    let scene = [
        client("client", "e1"),
        service("shop", "http", 8080) + &service("pipe", "tcp", 9000),
        one("shop-1", "shop", "v1", "http", 8080) + &one("shop-2", "shop", "v2", "http", 8080),
        one("pipe-1", "pipe", "v1", "tcp", 9000) + &one("pipe-2", "pipe", "v2", "tcp", 9000),
        pod("shop-v1", "shop", "v1", "e1", http(8080)) + &pod("shop-v2", "shop", "v2", "e2", http(8080)),
        pod("pipe-v1", "pipe", "v1", "e1", tcp(9000, "one")) + &pod("pipe-v2", "pipe", "v2", "e2", tcp(9000, "two")),
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, SHOP);
    reachable(&lab, CLIENT, "pipe:9000");
    through(
        lab,
        &[
            ("VirtualService, DestinationRule", |lab| all(lab, ISTIO)),
            ("HTTPRoute, TCPRoute", |lab| all(lab, GATEWAY_API)),
            ("PeerAuthentication, AuthorizationPolicy", |lab| all(lab, SECURITY)),
            ("Services and pods", services),
        ],
    );
}

/// What runs while things change.
struct Wave {
    requests: Vec<Child>,
    held: Child,
    connections: Child,
}

impl Wave {
    fn start(lab: &Lab) -> Self {
        let words = ["load", "--url", SHOP, "--seconds", WAVE, "--concurrency", "2", "--pause-ms", "1"];
        let also = |more: &[&str]| start(lab, CLIENT, &[&words[..], more].concat());
        let requests = vec![also(&[]), also(&["--new-connection", "true"]), also(&["--h2", "true"])];
        let held = hold(lab, CLIENT, "pipe:9000", WAVE);
        let connections =
            start(lab, CLIENT, &["tcp-load", "--address", "pipe:9000", "--connections", "1000", "--concurrency", "1"]);
        Self { requests, held, connections }
    }

    fn assert_unhurt(self, after: &[Change]) {
        let what: Vec<String> = after.iter().map(|(kind, name, spec)| format!("{kind} {name} {spec}")).collect();
        eprintln!("    {} changes", what.len());
        self.requests.into_iter().for_each(|child| assert_unhurt(&finish(child), 100));
        assert_held(&finish(self.held), 20);
        assert_echoed(&finish(self.connections), 1000);
    }
}

fn all(lab: &mut Lab, changes: &[Change]) {
    let mut left = changes;
    while !left.is_empty() {
        let (wave, began, all) = (Wave::start(lab), Instant::now(), left);
        while let Some((change, rest)) = left.split_first().filter(|_| began.elapsed() < CHANGING) {
            put(lab, change);
            left = rest;
        }
        wave.assert_unhurt(&all[..all.len() - left.len()]);
    }
}

fn generation(lab: &Lab) -> u64 {
    number(&lab.agent_of(CLIENT).unwrap().admin("/snapshot").unwrap()["generation"])
}

/// Puts it in force, and returns when it is.
fn put(lab: &mut Lab, (kind, name, spec): &Change) {
    let before = generation(lab);
    let group = match *kind {
        "VirtualService" | "DestinationRule" => "networking.istio.io/v1",
        "PeerAuthentication" | "AuthorizationPolicy" => "security.istio.io/v1",
        "TCPRoute" => "gateway.networking.k8s.io/v1alpha2",
        _ => "gateway.networking.k8s.io/v1",
    };
    let head = format!("---\napiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\n");
    match spec.is_empty() {
        true => delete(lab, &head),
        false => apply(lab, &format!("{head}spec: {spec}\n")),
    }
    let taken = || (generation(lab) > before).then_some(());
    until(&format!("{kind} {name} {spec} is in force"), SOON, taken).unwrap();
}

fn services(lab: &mut Lab) {
    let shop = |from: &str, to: &str| service("shop", "http", 8080).replace(from, to);
    let changes = [
        Pod { name: "shop-v3", app: "shop", version: "v3", node: "e2", container: http(8080) }.text(),
        shop("ports:", "sessionAffinity: ClientIP\n  ports:"),
        shop("ports:", "trafficDistribution: PreferClose\n  ports:"),
        shop("]\n", ", {name: more, port: 81, targetPort: 8080}]\n"),
        shop("", ""),
    ];
    let wave = Wave::start(lab);
    for change in changes {
        let before = generation(lab);
        apply(lab, &change);
        until("the change is in force", SOON, || (generation(lab) > before).then_some(())).unwrap();
    }
    wave.assert_unhurt(&[]);
}
