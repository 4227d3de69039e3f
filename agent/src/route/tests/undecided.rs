//! What only the first bytes tell, headless Services, and names that stand for other names.

use crate::balance::{Caller, pick};
use crate::model::AppProtocol::{Http, Tcp, Tls, Unknown};
use crate::model::{ServiceKind, TcpMatch, TcpRule, TlsMatch, TlsRule, VirtualService, WeightedDestination};
use crate::route::{Plan, Spoken};
use crate::snapshot::fixtures::*;
use std::time::Instant;

const VIP: &str = "10.96.0.1";

/// `shop/db` with a port for each protocol, `shop/a` and `shop/b` with one.
fn shop(rules: VirtualService) -> World {
    let ports = [(80, Http), (90, Tcp), (443, Tls), (1000, Unknown)];
    World::new(vec![
        put(service("shop/db", VIP, &ports)),
        put(slice("shop/db", &["10.0.0.1"], &[(80, 80), (90, 90), (443, 443), (1000, 1000)])),
        put(service("shop/a", "10.96.0.2", &[(443, Tls)])),
        put(slice("shop/a", &["10.0.0.2"], &[(443, 443)])),
        put(service("shop/b", "10.96.0.3", &[(443, Tls)])),
        put(slice("shop/b", &["10.0.0.3"], &[(443, 443)])),
        put(rules),
    ])
}

fn tls_rule(names: &[&str], connection: TcpMatch, to: WeightedDestination) -> TlsRule {
    let sni_hosts = names.iter().map(|name| (*name).into()).collect();
    TlsRule { matches: vec![TlsMatch { sni_hosts, connection }], route: vec![to], broken: None }
}

fn with_tls(tls: Vec<TlsRule>) -> World {
    shop(VirtualService { tls, ..rules("shop/r", &["shop/db"], vec![], vec![]) })
}

/// Where a connection to `shop/db` goes by what its client says.
fn heard(world: &mut World, port: u16, spoken: &Spoken) -> String {
    let client = pod("shop/client", "10.0.0.9", &[("app", "web")]);
    match world.resolve(&client, &format!("{VIP}:{port}")) {
        Plan::Undecided(undecided) => shown(&undecided.heard(spoken, &client, &mut world.rng)),
        plan => format!("at once: {}", shown(&plan)),
    }
}

fn name(name: &str) -> Spoken {
    Spoken::Tls(Some(name.into()))
}

#[test]
fn tls_rules_take_connections_by_the_name_that_is_asked_for() {
    let any = TcpMatch::default;
    let mut world = with_tls(vec![
        tls_rule(&["a.example"], any(), to("shop/a", 1)),
        tls_rule(&["*.b.example", "b.example"], any(), to("shop/b", 1)),
    ]);
    let (a, b) = ("tcp a:443 10.0.0.2:443", "tcp b:443 10.0.0.3:443");
    let none =
        |what: &str| format!("refused NR no TLS rule for db.shop.svc.cluster.local takes this connection: {what}");
    for (spoken, expected) in [
        (name("a.example"), a.to_owned()),
        (name("b.example"), b.to_owned()),
        (name("x.y.b.example"), b.to_owned()),
        (name("ab.example"), none("ab.example")),
        (Spoken::Tls(None), none("asks for no name")),
        (Spoken::Requests, none("is not TLS")),
        (Spoken::Bytes, none("is not TLS")),
    ] {
        assert_eq!(heard(&mut world, 443, &spoken), expected, "{spoken:?}");
    }
    // Where the port does not say that it is for TLS, only TLS is held to the rules.
    for port in [90, 1000] {
        assert_eq!(heard(&mut world, port, &name("a.example")), a);
        assert_eq!(heard(&mut world, port, &name("c")), none("c"));
        assert_eq!(heard(&mut world, port, &Spoken::Bytes), format!("tcp db:{port} 10.0.0.1:{port}"));
    }
    assert_eq!(heard(&mut world, 80, &name("a.example")), "at once: tcp db:80 10.0.0.1:80");
}

#[test]
fn what_no_tls_rule_takes_is_for_the_tcp_rules() {
    let tls = vec![tls_rule(&["a.example"], TcpMatch::default(), to("shop/a", 1))];
    let tcp = |matches| vec![TcpRule { matches, route: vec![to("shop/b", 1)], broken: None }];
    let (a, b) = ("tcp a:443 10.0.0.2:443", "tcp b:443 10.0.0.3:443");
    let mut world = shop(VirtualService { tls: tls.clone(), ..rules("shop/r", &["shop/db"], vec![], tcp(vec![])) });
    for (spoken, expected) in [(name("a.example"), a), (name("c"), b), (Spoken::Tls(None), b), (Spoken::Bytes, b)] {
        assert_eq!(heard(&mut world, 443, &spoken), expected, "{spoken:?}");
    }
    let elsewhere = tcp(vec![TcpMatch { port: Some(444), ..TcpMatch::default() }]);
    let mut world = shop(VirtualService { tls, ..rules("shop/r", &["shop/db"], vec![], elsewhere) });
    assert!(heard(&mut world, 443, &name("c")).starts_with("refused NR"));
}

#[test]
fn a_star_takes_every_tls_connection_even_one_that_asks_for_no_name() {
    let mut world = with_tls(vec![tls_rule(&["*"], TcpMatch::default(), to("shop/a", 1))]);
    for spoken in [name("x"), Spoken::Tls(None)] {
        assert_eq!(heard(&mut world, 443, &spoken), "tcp a:443 10.0.0.2:443");
    }
}

#[test]
fn conditions_on_the_connection_count_with_the_name() {
    let source = |labels_: &[(&str, &str)]| TcpMatch { source_labels: labels(labels_), ..TcpMatch::default() };
    let port = |port| TcpMatch { port: Some(port), ..TcpMatch::default() };
    let net = |net: &str| TcpMatch { destination_subnets: vec![net.parse().unwrap()], ..TcpMatch::default() };
    let namespace = |name: &str| TcpMatch { source_namespace: Some(name.into()), ..TcpMatch::default() };
    for (connection, taken) in [
        (source(&[("app", "web")]), true),
        (source(&[("app", "other")]), false),
        (port(443), true),
        (port(444), false),
        (net("10.96.0.0/16"), true),
        (net("10.97.0.0/16"), false),
        (namespace("shop"), true),
        (namespace("other"), false),
    ] {
        let mut world = with_tls(vec![tls_rule(&["*"], connection.clone(), to("shop/a", 1))]);
        // Rules that cannot take it leave the port as it is: nothing is listened for.
        let expected = if taken { "tcp a:443 10.0.0.2:443" } else { "at once: tcp db:443 10.0.0.1:443" };
        assert_eq!(heard(&mut world, 443, &name("x")), expected, "{connection:?}");
    }
}

#[test]
fn a_rule_that_is_broken_or_leads_nowhere_refuses() {
    let broken = TlsRule { broken: Some("a reason".into()), ..tls_rule(&["a"], TcpMatch::default(), to("shop/a", 1)) };
    let mut world = with_tls(vec![broken, tls_rule(&["b"], TcpMatch::default(), to("shop/gone", 1))]);
    assert_eq!(heard(&mut world, 443, &name("a")), "refused BR VirtualService shop/r tls[0]: a reason");
    assert!(heard(&mut world, 443, &name("b")).starts_with("refused NC VirtualService shop/r tls[1]: there is no"));
    assert_eq!(world.codes(), ["missing-host to shop/gone"]);
}

#[test]
fn http_on_a_port_that_does_not_say_so_is_routed_by_request() {
    let http = vec![http_rule(vec![], vec![to("shop/a", 1)])];
    let mut world = shop(rules("shop/r", &["shop/db"], http, vec![]));
    let whole = "tcp db:1000 10.0.0.1:1000";
    assert_eq!(heard(&mut world, 1000, &Spoken::Requests), "http db:1000");
    assert_eq!(heard(&mut world, 1000, &Spoken::Bytes), whole);
    assert_eq!(heard(&mut world, 1000, &name("x")), whole);
    assert_eq!(heard(&mut world, 80, &Spoken::Requests), "at once: http db:80");
    assert_eq!(heard(&mut world, 90, &Spoken::Requests), "at once: tcp db:90 10.0.0.1:90");
    // Without rules there is nothing to decide.
    let mut world = shop(rules("shop/r", &["shop/other"], vec![], vec![]));
    assert_eq!(heard(&mut world, 1000, &Spoken::Requests), format!("at once: {whole}"));
}

fn headless(rules_: Option<VirtualService>) -> World {
    let mut changes = vec![
        put(service("shop/set", "", &[(90, Tcp), (80, Http)])),
        put(slice("shop/set", &["10.0.0.1", "10.0.0.2", "!10.0.0.3"], &[(90, 9090), (80, 8080)])),
        put(pod("shop/set-0", "10.0.0.1", &[("version", "1")])),
        put(pod("shop/set-1", "10.0.0.2", &[("version", "2")])),
        put(pod("shop/set-2", "10.0.0.3", &[("version", "2")])),
        put(subsets("shop/set", "shop/set", &[("v1", "1"), ("v2", "2")])),
    ];
    changes.extend(rules_.map(put));
    World::new(changes)
}

/// The endpoint of a connection that uses a pod's address.
fn chosen(world: &mut World, dst: &str) -> String {
    let client = pod("shop/client", "10.0.0.9", &[]);
    match world.resolve(&client, dst) {
        Plan::Tcp(upstream) => {
            let caller = Caller { client: &client, used: dst.parse().unwrap(), hash: None, now: Instant::now() };
            let endpoint = pick(&upstream.group, &caller, &[], &mut world.rng).unwrap();
            format!("{}:{} {}", upstream.service.name, upstream.service.port, endpoint.address)
        }
        plan => shown(&plan),
    }
}

#[test]
fn a_pod_of_a_headless_service_stands_for_the_service() {
    let mut world = headless(None);
    for (dst, expected) in [
        ("10.0.0.1:9090", "set:90 10.0.0.1:9090"),
        ("10.0.0.2:9090", "set:90 10.0.0.2:9090"),
        ("10.0.0.2:8080", "set:80 10.0.0.2:8080"),
        ("10.0.0.2:1", "workload shop/set-1 10.0.0.2:1"),
        // One that is not ready is no endpoint: whoever finds it all the same means the pod.
        ("10.0.0.3:9090", "workload shop/set-2 10.0.0.3:9090"),
    ] {
        assert_eq!(chosen(&mut world, dst), expected, "{dst}");
    }
    world.apply(vec![put(slice("shop/set", &["10.0.0.2"], &[(90, 9090)]))]);
    assert_eq!(chosen(&mut world, "10.0.0.1:9090"), "workload shop/set-0 10.0.0.1:9090");
    assert_eq!(chosen(&mut world, "10.0.0.2:9090"), "set:90 10.0.0.2:9090");
    world.apply(vec![gone(service("shop/set", "", &[(90, Tcp), (80, Http)]))]);
    assert_eq!(chosen(&mut world, "10.0.0.2:9090"), "workload shop/set-1 10.0.0.2:9090");
}

#[test]
fn rules_hold_for_a_headless_service_by_its_own_ports() {
    let port = TcpMatch { port: Some(90), ..TcpMatch::default() };
    let tcp = vec![tcp_rule(vec![port], vec![to("shop/set#v2", 1)])];
    let mut world =
        headless(Some(rules("shop/r", &["shop/set"], vec![http_rule(vec![], vec![to("shop/set", 1)])], tcp)));
    // The subset has the pod that the client chose, or leads away from it.
    assert_eq!(chosen(&mut world, "10.0.0.2:9090"), "set:90 10.0.0.2:9090");
    assert_eq!(chosen(&mut world, "10.0.0.1:9090"), "set:90 10.0.0.2:9090");
    assert_eq!(chosen(&mut world, "10.0.0.1:8080"), "http set:80");
}

#[test]
fn a_pod_of_two_headless_services_stands_for_the_first_by_name() {
    let mut world = headless(None);
    world.apply(vec![put(service("shop/all", "", &[(1, Tcp)])), put(slice("shop/all", &["10.0.0.1"], &[(1, 9090)]))]);
    assert_eq!(chosen(&mut world, "10.0.0.1:9090"), "all:1 10.0.0.1:9090");
    world.apply(vec![gone(slice("shop/all", &["10.0.0.1"], &[(1, 9090)]))]);
    assert_eq!(chosen(&mut world, "10.0.0.1:9090"), "set:90 10.0.0.1:9090");
}

fn alias(id: &str, target: &str) -> crate::model::Service {
    crate::model::Service { kind: ServiceKind::Alias(target.into()), ..service(id, "", &[]) }
}

fn leading(to_: &str) -> VirtualService {
    rules("shop/r", &["shop/db"], vec![], vec![tcp_rule(vec![], vec![to(to_, 1)])])
}

#[test]
fn a_route_to_another_name_leads_to_what_it_stands_for() {
    let mut world = shop(leading("shop/alias"));
    let a = "at once: tcp a:443 10.0.0.2:443";
    assert!(heard(&mut world, 90, &Spoken::Bytes).contains("refused NC"), "no such Service");
    world.apply(vec![put(alias("shop/alias", "far.shop.svc.cluster.local"))]);
    assert_eq!(world.codes(), ["external-name shop/r", "missing-host to shop/alias"]);
    // Over another name, which comes later.
    world.apply(vec![put(alias("shop/far", "a.shop.svc.cluster.local"))]);
    assert_eq!(heard(&mut world, 90, &Spoken::Bytes), a);
    assert_eq!(world.codes(), [""; 0]);
    // What it stands for changes.
    world.apply(vec![put(slice("shop/a", &["10.0.0.7"], &[(443, 443)]))]);
    assert_eq!(heard(&mut world, 90, &Spoken::Bytes), "at once: tcp a:443 10.0.0.7:443");
    world.apply(vec![put(alias("shop/alias", "example.com"))]);
    assert_eq!(world.codes(), ["external-name shop/r", "missing-host to shop/alias"]);
    assert!(heard(&mut world, 90, &Spoken::Bytes).contains("refused NC"));
}

#[test]
fn rules_for_another_name_are_said_to_have_no_effect() {
    let mut world = shop(rules("shop/r", &["shop/alias"], vec![], vec![tcp_rule(vec![], vec![to("shop/a", 1)])]));
    world.apply(vec![put(alias("shop/alias", "a.shop.svc.cluster.local"))]);
    assert_eq!(world.codes(), ["external-name shop/r"]);
    assert!(world.findings[0].message.contains("name a.shop.svc.cluster.local instead"), "{:?}", world.findings);
    world.apply(vec![put(service("shop/alias", "10.96.0.9", &[(443, Tls)]))]);
    assert_eq!(world.codes(), [""; 0]);
}
