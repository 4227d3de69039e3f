//! Which of several VirtualServices or DestinationRules is in force.

use crate::model::AppProtocol::{Grpc, Http, Http2, Tcp, Unknown};
use crate::model::{Change, DestinationRule, VirtualService};
use crate::snapshot::fixtures::*;
use crate::vocab::Namespace;

/// A VirtualService `id` for a host pattern.
fn at(id: &str, host: &str) -> VirtualService {
    rules(id, &[host], vec![http_rule(vec![], vec![to("shop/books", 1)])], vec![])
}

fn exported(mut rules: VirtualService, to: &str) -> VirtualService {
    rules.export_to = vec![to.into()];
    rules
}

fn books() -> Vec<Change> {
    vec![put(service("shop/books", "10.96.0.1", &[(80, Http)])), put(slice("shop/books", &["10.0.0.2"], &[(80, 8080)]))]
}

#[test]
fn the_narrowest_host_wins_then_the_clients_namespace_then_the_services_then_the_name() {
    let cases: Vec<(Vec<VirtualService>, &str, Option<&str>)> = vec![
        (vec![at("shop/a", "shop/till")], "shop", None),
        (vec![at("shop/a", "shop/books")], "bank", Some("shop/a")),
        (vec![at("bank/any", "*"), at("bank/wild", "*.svc.cluster.local")], "bank", Some("bank/wild")),
        (vec![at("bank/wild", "*.shop.svc.cluster.local"), at("zoo/a", "shop/books")], "bank", Some("zoo/a")),
        (vec![at("bank/a", "shop/books"), at("shop/a", "shop/books")], "bank", Some("bank/a")),
        (vec![at("bank/a", "shop/books"), at("shop/a", "shop/books")], "shop", Some("shop/a")),
        (vec![at("bank/a", "shop/books"), at("shop/a", "shop/books")], "zoo", Some("shop/a")),
        (vec![at("bank/b", "shop/books"), at("bank/a", "shop/books")], "zoo", Some("bank/a")),
        (vec![exported(at("shop/a", "shop/books"), "shop")], "shop", Some("shop/a")),
        (vec![exported(at("shop/a", "shop/books"), "shop")], "bank", None),
        (vec![exported(at("shop/a", "shop/books"), "zoo"), at("shop/any", "*")], "bank", Some("shop/any")),
    ];
    for (candidates, client, expected) in cases {
        let mut changes = books();
        changes.extend(candidates.iter().cloned().map(put));
        let world = World::new(changes);
        let frontend = &world.snapshot.routes.hosts[&host("shop/books")];
        let in_force = frontend.rules(&Namespace::from(client)).map(|rules| rules.id.to_string());
        assert_eq!(in_force.as_deref(), expected, "{client}: {candidates:#?}");
    }
}

#[test]
fn requests_are_routed_only_where_the_port_says_http_and_a_rule_is_seen() {
    let http = |port| {
        let one = crate::model::HttpMatch { port, ..Default::default() };
        rules("shop/a", &["shop/books"], vec![http_rule(vec![one], vec![to("shop/books", 1)])], vec![])
    };
    let tcp = || rules("shop/a", &["shop/books"], vec![], vec![tcp_rule(vec![], vec![to("shop/books", 1)])]);
    let (l4, l7) = ("tcp books:80 10.0.0.2:8080", "http books:80");
    let either = "undecided: requests or tcp books:80 10.0.0.2:8080";
    for (protocol, rules, plan) in [
        (Http, http(None), l7),
        (Http2, http(None), l7),
        (Grpc, http(None), l7),
        (Tcp, http(None), l4),
        (Tcp, http(Some(80)), l4),
        (Unknown, http(None), either),
        (Unknown, http(Some(80)), either),
        (Unknown, http(Some(81)), l4),
        (Http, http(Some(81)), l4),
        (Http, tcp(), l4),
        (Http, exported(http(None), "bank"), l4),
    ] {
        let mut changes = books();
        changes.push(put(service("shop/books", "10.96.0.1", &[(80, protocol)])));
        changes.push(put(rules.clone()));
        let mut world = World::new(changes);
        let found = shown(&world.resolve(&pod("shop/client", "10.0.0.1", &[]), "10.96.0.1:80"));
        assert_eq!(found, plan, "{protocol:?} {rules:?}");
        let unused = !rules.http.is_empty() && rules.export_to.is_empty() && plan == l4;
        assert_eq!(world.codes(), if unused { vec!["not-http shop/a"] } else { vec![] }, "{protocol:?}");
    }
}

/// The pod, `10.0.0.1` of version 1 or `10.0.0.2` of version 2, that a client in a namespace is sent to as the
/// subset `s` of `shop/books`.
fn subset_for(client: &str, candidates: &[DestinationRule]) -> String {
    let split = vec![tcp_rule(vec![], vec![to("shop/books#s", 1)])];
    let mut changes = vec![
        put(service("shop/books", "10.96.0.1", &[(80, Tcp)])),
        put(slice("shop/books", &["10.0.0.1", "10.0.0.2"], &[(80, 8080)])),
        put(pod("shop/one", "10.0.0.1", &[("version", "1")])),
        put(pod("shop/two", "10.0.0.2", &[("version", "2")])),
        put(rules("shop/r", &["shop/books"], vec![], split)),
    ];
    changes.extend(candidates.iter().cloned().map(put));
    let client = pod(&format!("{client}/client"), "10.0.0.9", &[]);
    shown(&World::new(changes).resolve(&client, "10.96.0.1:80"))
}

#[test]
fn a_subset_means_what_the_rule_nearest_to_the_client_says() {
    let of = |id, host, version| subsets(id, host, &[("s", version)]);
    let rule = |id, version| of(id, "shop/books", version);
    let mut private = rule("shop/a", "1");
    private.export_to = vec!["shop".into()];
    let (one, two) = ("10.0.0.1", "10.0.0.2");
    for (candidates, client, expected) in [
        ([rule("bank/a", "1"), rule("shop/a", "2")], "bank", one),
        ([rule("bank/a", "1"), rule("shop/a", "2")], "zoo", two),
        ([rule("istio-system/a", "1"), rule("bank/a", "2")], "zoo", one),
        ([rule("bank/a", "1"), rule("bank/b", "2")], "zoo", one),
        ([of("shop/a", "*.cluster.local", "1"), rule("shop/b", "2")], "zoo", two),
        ([of("shop/a", "*", "1"), rule("zoo/a", "2")], "bank", one),
        ([private.clone(), rule("zoo/a", "2")], "bank", two),
        ([private, rule("zoo/a", "2")], "shop", one),
    ] {
        let found = subset_for(client, &candidates);
        assert_eq!(found, format!("tcp books:80 {expected}:8080"), "{client}: {candidates:#?}");
    }
}

#[test]
fn several_rules_for_one_host_are_found() {
    let mut changes = books();
    changes.extend([put(at("shop/a", "shop/books")), put(at("shop/b", "shop/books"))]);
    changes.extend([put(subsets("shop/x", "shop/books", &[])), put(subsets("shop/y", "shop/books", &[]))]);
    let mut world = World::new(changes);
    assert_eq!(world.codes(), ["conflict shop/b", "conflict shop/y"]);
    world.apply(vec![gone(at("shop/a", "shop/books")), put(exported(at("bank/c", "shop/books"), "bank"))]);
    assert_eq!(world.codes(), ["conflict shop/b", "conflict shop/y"], "clients in bank see two of them");
    world.apply(vec![gone(at("bank/c", "shop/books")), gone(subsets("shop/x", "shop/books", &[]))]);
    assert_eq!(world.codes(), Vec::<String>::new());
}
