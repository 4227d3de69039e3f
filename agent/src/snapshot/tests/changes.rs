//! What changes do, seen from outside.

use crate::model::AppProtocol::{Http, Tcp};
use crate::model::{Change, ObjectKey, Workload};
use crate::snapshot::fixtures::*;
use crate::snapshot::{Closed, Publisher, Snapshot};
use std::sync::Arc;

fn client() -> Workload {
    pod("shop/client", "10.0.0.9", &[])
}

fn books() -> Vec<Change> {
    vec![
        put(pod("shop/books-1", "10.0.0.1", &[("version", "1")])),
        put(service("shop/books", "10.96.0.1", &[(80, Http)])),
        put(slice("shop/books", &["10.0.0.1", "10.0.0.2"], &[(80, 8080)])),
        put(subsets("shop/books", "shop/books", &[("v1", "1")])),
        put(rules("shop/r", &["shop/books"], vec![http_rule(vec![], vec![to("shop/books#v1", 1)])], vec![])),
    ]
}

/// The dump without what only counts.
fn comparable(snapshot: &Snapshot) -> serde_json::Value {
    let mut dump = snapshot.dump();
    dump["generation"] = 0.into();
    dump
}

#[test]
fn any_order_of_changes_leads_to_the_same_snapshot() {
    let expected = World::new(books());
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..50 {
        let mut changes = books();
        rng.shuffle(&mut changes);
        let mut world = World::new(vec![]);
        for change in changes {
            world.apply(vec![change]);
        }
        assert_eq!(comparable(&world.snapshot), comparable(&expected.snapshot));
        assert_eq!(world.findings, expected.findings);
    }
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let keys = || {
        books().into_iter().map(|change| match change {
            Change::Upsert(key, _) | Change::Remove(key) => Change::Remove(key),
        })
    };
    let mut world = World::new(books());
    let mut rng = fastrand::Rng::with_seed(6);
    for _ in 0..50 {
        world.apply(books());
        let mut removals: Vec<_> = keys().collect();
        rng.shuffle(&mut removals);
        for removal in removals {
            world.apply(vec![removal]);
        }
        assert_eq!(comparable(&world.snapshot), comparable(&World::new(vec![]).snapshot));
        assert!(world.findings.is_empty(), "{:?}", world.findings);
    }
}

#[test]
fn findings_go_when_their_cause_goes() {
    let mut world = World::new(books());
    assert_eq!(world.codes(), Vec::<String>::new());
    world.apply(vec![gone(subsets("shop/books", "shop/books", &[]))]);
    assert_eq!(world.codes(), ["missing-subset to shop/books#v1"]);
    world.apply(vec![gone(service("shop/books", "10.96.0.1", &[]))]);
    assert_eq!(world.codes(), ["missing-host to shop/books#v1"]);
    world.apply(books());
    assert_eq!(world.codes(), Vec::<String>::new());
}

#[test]
fn a_pod_of_the_local_cluster_keeps_an_address_that_another_claims() {
    let ours = pod("shop/ours", "10.0.0.1", &[]);
    let theirs = pod_in("west", "shop/theirs", "10.0.0.1", &[]);
    let mut world = World::new(vec![put(theirs.clone()), put(ours.clone())]);
    assert_eq!(world.codes(), ["address-conflict Pod shop/theirs"]);
    let found = |world: &World| world.snapshot.workload_at("10.0.0.1".parse().unwrap()).map(|one| one.id.to_string());
    assert_eq!(found(&world).as_deref(), Some("east/shop/ours"));
    world.apply(vec![gone(ours)]);
    assert_eq!(found(&world).as_deref(), Some("west/shop/theirs"));
    assert_eq!(world.codes(), Vec::<String>::new());
    world.apply(vec![gone(theirs)]);
    assert_eq!(found(&world), None);
}

#[test]
fn pods_on_the_hosts_network_share_its_address_without_a_finding() {
    let host = |id: &str| Workload { enrolled: false, ..pod(id, "192.168.0.1", &[]) };
    let world = World::new(vec![put(host("kube-system/a")), put(host("kube-system/b"))]);
    assert_eq!(world.codes(), Vec::<String>::new());
}

#[test]
fn the_local_meaning_of_a_virtual_address_counts() {
    let mut world = World::new(vec![
        put(service_in("west", "shop/aaa", "10.96.0.1", &[(80, Tcp)])),
        put(service("shop/books", "10.96.0.1", &[(81, Tcp)])),
        put(slice("shop/books", &["10.0.0.1"], &[(81, 8081)])),
    ]);
    assert_eq!(shown(&world.resolve(&client(), "10.96.0.1:81")), "tcp books:81 10.0.0.1:8081");
    assert_eq!(world.codes(), Vec::<String>::new());
    world.apply(vec![put(service("shop/zzz", "10.96.0.1", &[(80, Tcp)]))]);
    assert_eq!(world.codes(), ["address-conflict Service zzz.shop.svc.cluster.local"]);
}

#[test]
fn a_service_that_moves_to_another_address_is_not_found_at_the_old_one() {
    let mut world = World::new(books());
    world.apply(vec![put(service("shop/books", "10.96.0.2", &[(80, Http)]))]);
    assert_eq!(shown(&world.resolve(&client(), "10.96.0.1:80")), "passthrough");
    assert_eq!(shown(&world.resolve(&client(), "10.96.0.2:80")), "http books:80");
}

#[test]
fn istio_objects_of_another_cluster_are_not_ours() {
    let rules = rules("shop/r", &["shop/books"], vec![http_rule(vec![], vec![to("shop/none", 1)])], vec![]);
    let object = rules.into();
    let key = ObjectKey { cluster: "west".into(), ..key(&object) };
    let world = World::new(vec![Change::Upsert(key, object)]);
    assert!(world.findings.is_empty());
    assert!(world.snapshot.routes.bindings.is_empty());
}

#[test]
fn a_load_is_kept_from_snapshot_to_snapshot() {
    let mut world = World::new(books());
    let load = |world: &World| {
        let backends = world.snapshot.routes.backends(&host("shop/books")).unwrap();
        backends.ports()[0].whole.group.ready()[0].clone()
    };
    let open = load(&world).begin();
    world.apply(vec![put(slice("shop/books", &["10.0.0.1"], &[(80, 8081)]))]);
    assert_eq!(load(&world).load.open(), 1);
    world.apply(vec![put(pod("shop/books-1", "10.0.0.1", &[("version", "2")]))]);
    assert_eq!(load(&world).load.open(), 1);
    drop(open);
    assert_eq!(load(&world).load.open(), 0);
}

#[test]
fn the_pods_of_a_node_are_listed_by_name() {
    let elsewhere = Workload { node: "n2".into(), ..pod("shop/c", "10.0.0.3", &[]) };
    let changes =
        vec![put(pod("shop/b", "10.0.0.2", &[])), put(pod("shop/a", "10.0.0.1", &[])), put(elsewhere.clone())];
    let mut world = World::new(changes);
    let listed = |world: &World, node: &str| -> Vec<_> {
        let pods = world.snapshot.local_pods(&LOCAL.into(), &node.into());
        pods.map(|pod| pod.id.pod.name.to_string()).collect()
    };
    assert_eq!(listed(&world, "n1"), ["a", "b"]);
    assert_eq!(listed(&world, "n2"), ["c"]);
    world.apply(vec![put(Workload { node: "n1".into(), ..elsewhere })]);
    assert_eq!(listed(&world, "n1"), ["a", "b", "c"]);
    assert!(listed(&world, "n2").is_empty());
}

#[test]
fn the_dump_shows_services_endpoints_routes_and_policies() {
    let dump = World::new(books()).snapshot.dump();
    assert_eq!(dump["services"][0]["host"], "books.shop.svc.cluster.local");
    assert_eq!(dump["services"][0]["ports"][0]["endpoints"][0]["workload"], "east/shop/books-1");
    assert_eq!(dump["services"][0]["ports"][0]["subsets"][0]["endpoints"][0], "10.0.0.1:8080");
    assert_eq!(dump["routes"][0]["http"][0]["route"][0]["subset"], "v1");
    assert_eq!(dump["workloads"][0]["identity"], "spiffe://cluster.local/ns/shop/sa/default");
    assert!(dump["policies"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn readers_are_woken_for_what_they_then_find() {
    let (publisher, reader) = Publisher::new(Arc::new(Snapshot::empty(LOCAL.into())));
    let mut waiting = reader.clone();
    let woken = tokio::spawn(async move {
        waiting.changed().await.unwrap();
        (waiting.load().generation, waiting)
    });
    publisher.publish(World::new(books()).snapshot);
    let (generation, mut waiting) = woken.await.unwrap();
    assert_eq!((generation, reader.snapshot().generation), (1, 1));
    drop(publisher);
    assert_eq!(waiting.changed().await, Err(Closed));
}
