//! Where the rule that was found leads.

use super::scene::{plausible, shop};
use crate::model::{HttpMatch, HttpRule, StringMatch, WeightedDestination};
use crate::route::{Plan, Ruling, Verdict};
use crate::snapshot::fixtures::*;
use http::Request;
use std::collections::BTreeMap;
use std::sync::Arc;

fn with(http: Vec<HttpRule>, tcp: Vec<crate::model::TcpRule>) -> World {
    let mut changes = shop();
    changes.push(put(rules("shop/r", &["shop/books"], http, tcp)));
    World::new(changes)
}

/// Where a request for `path` to `shop/books` goes, or the status, flag and text it gets.
fn ask(world: &mut World, path: &str) -> String {
    let client = pod("shop/client", "10.0.0.9", &[]);
    let Plan::Http(table) = world.resolve(&client, "10.96.0.1:80") else { panic!("not routed by request") };
    let request = Request::builder().uri(path).header("host", "till.shop").body(()).unwrap().into_parts().0;
    match table.decide(&client, &request, &mut world.rng) {
        Ok(Ruling { verdict: Verdict::Forward(forward), .. }) => shown(&Plan::Tcp(Arc::clone(forward.upstream()))),
        Ok(ruling) => panic!("{ruling:?}"),
        Err(refusal) => format!("{} {} {refusal}", refusal.status().as_u16(), refusal.flag()),
    }
}

fn everything(route: Vec<WeightedDestination>) -> World {
    with(vec![http_rule(vec![], route)], vec![])
}

#[test]
fn a_destination_is_a_service_a_port_of_it_and_a_subset() {
    let missing = "503 NC VirtualService shop/r http[0]: there is no";
    for (destination, answer, finding) in [
        ("shop/books", "tcp books:80 10.0.0.1:8080,10.0.0.2:8080", ""),
        ("shop/books#v2", "tcp books:80 10.0.0.2:8080", ""),
        ("shop/books:85#v2", "tcp books:85 10.0.0.2:8085", ""),
        ("shop/till", "tcp till:90 10.0.0.4:9090", ""),
        ("shop/two:82", "tcp two:82 10.0.0.5:8082", ""),
        ("shop/two", "MISSING two.shop.svc.cluster.local, with the client's port", ""),
        ("shop/books:86", "MISSING books.shop.svc.cluster.local:86", "missing-port"),
        ("shop/books:80#v9", "MISSING books.shop.svc.cluster.local:80 subset v9", "missing-subset"),
        ("shop/till#v1", "MISSING till.shop.svc.cluster.local subset v1", "missing-subset"),
        ("shop/none", "MISSING none.shop.svc.cluster.local", "missing-host"),
        ("shop/books#v3", "503 UH no endpoint of books.shop.svc.cluster.local:80 is ready", ""),
    ] {
        let mut world = everything(vec![to(destination, 0)]);
        assert_eq!(ask(&mut world, "/"), answer.replace("MISSING", missing), "{destination}");
        let expected = if finding.is_empty() { vec![] } else { vec![format!("{finding} to {destination}")] };
        assert_eq!(world.codes(), expected, "{destination}");
    }
}

#[test]
fn the_first_rule_that_takes_the_request_decides_and_none_is_404() {
    let path = |path: &str| vec![HttpMatch { uri: Some(StringMatch::Prefix(path.into())), ..Default::default() }];
    let broken = HttpRule { broken: Some("redirect is not supported".into()), ..http_rule(path("/c"), vec![]) };
    let mut world = with(
        vec![
            http_rule(path("/a/b"), vec![to("shop/books#v1", 1)]),
            http_rule(path("/a"), vec![to("shop/books#v2", 1)]),
            broken,
        ],
        vec![],
    );
    assert_eq!(world.codes(), Vec::<String>::new());
    for (path, answer) in [
        ("/a/b/c", "tcp books:80 10.0.0.1:8080"),
        ("/a", "tcp books:80 10.0.0.2:8080"),
        ("/c", "500 BR VirtualService shop/r http[2]: redirect is not supported"),
        ("/d", "404 NR no HTTP rule for books.shop.svc.cluster.local takes this request"),
    ] {
        assert_eq!(ask(&mut world, path), answer, "{path}");
    }
}

#[test]
fn requests_are_split_by_weight_and_only_the_missing_share_fails() {
    let mut world =
        everything(vec![to("shop/books#v1", 70), to("shop/books#v2", 20), to("shop/none", 10), to("shop/till", 0)]);
    assert_eq!(world.codes(), ["missing-host to shop/none"]);
    let mut seen = BTreeMap::new();
    for _ in 0..20_000 {
        *seen.entry(ask(&mut world, "/").split(' ').take(3).collect::<Vec<_>>().join(" ")).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    for (answer, share) in
        [("tcp books:80 10.0.0.1:8080", 0.7), ("tcp books:80 10.0.0.2:8080", 0.2), ("503 NC VirtualService", 0.1)]
    {
        assert!(plausible(seen[answer], 20_000, share), "{seen:?}");
    }
}

#[test]
fn destinations_without_any_weight_are_a_broken_rule() {
    let mut world = everything(vec![to("shop/books#v1", 0), to("shop/books#v2", 0)]);
    assert_eq!(world.codes(), ["weights shop/r"]);
    assert_eq!(ask(&mut world, "/"), "500 BR VirtualService shop/r http[0]: no destination has a weight");
}

#[test]
fn connections_are_split_by_tcp_rules_and_fall_back_to_the_service() {
    let to_port = |port| vec![crate::model::TcpMatch { port: Some(port), ..Default::default() }];
    let split = vec![to("shop/books#v1", 80), to("shop/books#v2", 20)];
    let http = http_rule(vec![], vec![to("shop/till", 1)]);
    let client = pod("shop/client", "10.0.0.9", &[]);
    let mut world = with(vec![http], vec![tcp_rule(to_port(85), split.clone())]);
    assert_eq!(shown(&world.resolve(&client, "10.96.0.1:80")), "http books:80");
    let mut first = 0;
    for _ in 0..20_000 {
        match shown(&world.resolve(&client, "10.96.0.1:85")).as_str() {
            "tcp books:85 10.0.0.1:8085" => first += 1,
            "tcp books:85 10.0.0.2:8085" => {}
            other => panic!("{other}"),
        }
    }
    assert!(plausible(first, 20_000, 0.8), "{first} of 20000");

    let mut world = with(vec![], vec![tcp_rule(to_port(86), split)]);
    assert_eq!(shown(&world.resolve(&client, "10.96.0.1:85")), "tcp books:85 10.0.0.1:8085,10.0.0.2:8085");
    let mut world = with(vec![], vec![tcp_rule(vec![], vec![to("shop/none", 1)])]);
    let refused = "refused NC VirtualService shop/r tcp[0]: there is no none.shop.svc.cluster.local";
    assert_eq!(shown(&world.resolve(&client, "10.96.0.1:85")), refused);
}
