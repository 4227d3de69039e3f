//! From addresses to services and pods.

use crate::balance::{Caller, pick};
use crate::model::AppProtocol::{Http, Tcp};
use crate::snapshot::fixtures::*;

fn mesh() -> World {
    World::new(vec![
        put(pod("shop/client", "10.0.0.1", &[])),
        put(pod("shop/books", "10.0.0.2", &[])),
        put(pod_in("west", "shop/books", "10.1.0.2", &[])),
        put(service("shop/books", "10.96.0.1", &[(80, Tcp), (81, Tcp)])),
        put(service_in("west", "shop/books", "10.97.0.1", &[(80, Tcp)])),
        put(slice("shop/books", &["10.0.0.2", "!10.0.0.3"], &[(80, 8080), (81, 8081)])),
        put(slice_in("west", "shop/books", &["10.1.0.2"], &[(80, 9080)])),
        put(service("shop/headless", "", &[(80, Tcp)])),
        put(slice("shop/headless", &["10.0.0.2"], &[(80, 8080)])),
        put(service("shop/asleep", "10.96.0.2", &[(80, Tcp)])),
        put(slice("shop/asleep", &["!10.0.0.2"], &[(80, 8080)])),
        put(service("shop/v6", "fd00::1", &[(80, Http)])),
        put(slice("shop/v6", &["10.0.0.2", "fd01::2"], &[(80, 8080)])),
    ])
}

#[test]
fn an_address_is_a_pod_a_service_or_unknown() {
    let mut world = mesh();
    let client = pod("shop/client", "10.0.0.1", &[]);
    for (dst, plan) in [
        ("10.0.0.2:1234", "workload shop/books 10.0.0.2:1234"),
        ("10.1.0.2:80", "workload shop/books 10.1.0.2:80"),
        ("192.0.2.1:443", "passthrough"),
        ("10.0.0.9:80", "passthrough"),
        ("10.96.0.1:80", "tcp books:80 10.0.0.2:8080,10.1.0.2:9080"),
        ("10.97.0.1:80", "tcp books:80 10.0.0.2:8080,10.1.0.2:9080"),
        ("[::ffff:10.96.0.1]:80", "tcp books:80 10.0.0.2:8080,10.1.0.2:9080"),
        ("10.96.0.1:81", "tcp books:81 10.0.0.2:8081"),
        ("[fd00::1]:80", "tcp v6:80 10.0.0.2:8080,[fd01::2]:8080"),
        ("10.96.0.1:82", "refused NR books.shop.svc.cluster.local has no port 82"),
        ("10.96.0.2:80", "refused UH no endpoint of asleep.shop.svc.cluster.local:80 is ready"),
    ] {
        assert_eq!(shown(&world.resolve(&client, dst)), plan, "{dst}");
    }
}

#[test]
fn a_pod_reached_by_its_own_address_counts_towards_its_load_as_an_endpoint() {
    let mut world = mesh();
    let client = pod("shop/client", "10.0.0.1", &[]);
    let crate::route::Plan::Workload(direct) = world.resolve(&client, "10.0.0.2:1234") else { panic!() };
    let _open = direct.begin();
    let crate::route::Plan::Tcp(books) = world.resolve(&client, "10.96.0.1:80") else { panic!() };
    for _ in 0..100 {
        let used = "10.96.0.1:80".parse().unwrap();
        let caller = Caller { client: &client, used, hash: None, now: std::time::Instant::now() };
        let picked = pick(&books.group, &caller, &[], &mut world.rng).unwrap();
        assert_eq!(picked.address.to_string(), "10.1.0.2:9080");
    }
}

#[test]
fn each_cluster_names_its_ports_as_it_likes() {
    let mut west = service_in("west", "shop/books", "10.97.0.1", &[(80, Tcp)]);
    west.ports[0].name = "web".into();
    let mut slice_west = slice_in("west", "shop/books", &["10.1.0.2"], &[(80, 9080)]);
    slice_west.ports[0].name = "web".into();
    let mut world = mesh();
    world.apply(vec![put(west), put(slice_west)]);
    let client = pod("shop/client", "10.0.0.1", &[]);
    assert_eq!(shown(&world.resolve(&client, "10.96.0.1:80")), "tcp books:80 10.0.0.2:8080,10.1.0.2:9080");
}
