//! One change among 10,000 services and 100,000 endpoints.

use crate::model::AppProtocol::Tcp;
use crate::model::Change;
use crate::snapshot::Work;
use crate::snapshot::fixtures::*;
use std::sync::Arc;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn address(prefix: u32, n: u32) -> String {
    std::net::Ipv4Addr::from(prefix + n).to_string()
}

fn name(n: u32) -> String {
    format!("shop/s{n}")
}

fn endpoints(n: u32) -> Vec<String> {
    (0..ENDPOINTS).map(|at| address(0x0a00_0000, n * ENDPOINTS + at)).collect()
}

fn sliced(n: u32, ips: &[String]) -> Change {
    let ips: Vec<_> = ips.iter().map(String::as_str).collect();
    put(slice(&name(n), &ips, &[(80, 8080)]))
}

fn mesh() -> World {
    let services = (0..SERVICES).flat_map(|n| {
        let service = put(service(&name(n), &address(0xc0a8_0000, n), &[(80, Tcp)]));
        let pods = endpoints(n).into_iter().enumerate();
        let pods = pods.map(move |(at, ip)| put(pod(&format!("shop/p{n}-{at}"), &ip, &[("version", "1")])));
        pods.chain([service, sliced(n, &endpoints(n))])
    });
    let split = vec![tcp_rule(vec![], vec![to("shop/s2", 1)])];
    World::new(services.chain([put(rules("shop/r", &["shop/s1", "*"], vec![], split))]).collect())
}

fn work(backends: usize, frontends: usize, bindings: usize) -> Work {
    Work { backends, frontends, bindings, attached: 0, layers: 0 }
}

#[test]
fn one_change_compiles_what_depends_on_it_and_nothing_else() {
    let mut world = mesh();
    let before = Arc::clone(&world.snapshot);
    let relabelled = || put(pod("shop/p9-0", &endpoints(9)[0], &[("version", "2")]));
    let to_5 = || vec![tcp_rule(vec![], vec![to("shop/s5", 1)])];
    for (what, change, cost) in [
        ("an endpoint", sliced(7, &endpoints(7)[1..]), work(1, 1, 0)),
        ("an endpoint that a rule leads to", sliced(2, &endpoints(2)[1..]), work(1, 1, 1)),
        ("a pod's labels", relabelled(), work(1, 1, 0)),
        ("the same again", relabelled(), work(0, 0, 0)),
        ("a pod of no service", put(pod("shop/lone", "172.16.0.1", &[])), work(0, 0, 0)),
        ("subsets", put(subsets("shop/d", "shop/s3", &[("v1", "1")])), work(1, 1, 0)),
        ("a rule", put(rules("shop/narrow", &["shop/s4"], vec![], to_5())), work(0, 1, 1)),
    ] {
        assert_eq!(world.apply(vec![change]), cost, "{what}");
    }
    let same = |n| {
        let host = host(&name(n));
        Arc::ptr_eq(&before.routes.hosts[&host], &world.snapshot.routes.hosts[&host])
    };
    let changed: Vec<_> = (0..SERVICES).filter(|n| !same(*n)).collect();
    assert_eq!(changed, [2, 3, 4, 7, 9]);
    assert_eq!(world.snapshot.generation, before.generation + 7);
}
