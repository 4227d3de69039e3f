//! Istio's own samples for the Gateway API, unmodified.

use super::super::samples::samples;
use super::{Mesh, service};
use std::collections::BTreeMap;

/// Bookinfo's Services as `bookinfo.yaml` and `bookinfo-versions.yaml` declare them.
fn bookinfo() -> Mesh {
    let mut mesh = Mesh::new("# nothing yet\n");
    let names = ["reviews", "productpage", "ratings", "details"];
    let versions = ["reviews-v1", "reviews-v2", "reviews-v3", "productpage-v1", "ratings-v1", "details-v1"];
    let services = names.iter().chain(&versions).enumerate().map(|(at, name)| {
        let (vip, endpoint) = (format!("10.96.1.{at}"), format!("10.0.1.{at}"));
        service(&format!("default/{name}"), &vip, &["9080/http"], Some(&endpoint))
    });
    mesh.write("bookinfo.yaml", &services.collect::<String>());
    mesh
}

/// How many of a thousand requests to a Service went where.
fn split(mesh: &mut Mesh, vip: &str) -> BTreeMap<String, usize> {
    let mut split = BTreeMap::new();
    for _ in 0..1000 {
        *split.entry(mesh.ask("default", vip, "GET /")).or_default() += 1;
    }
    split
}

#[test]
fn every_sample_does_what_its_name_says() {
    let Some(dir) = samples("bookinfo/gateway-api") else { return };
    for (file, vip, shares) in [
        ("route-all-v1.yaml", "10.96.1.0:9080", vec![("reviews-v1:9080", 1000)]),
        ("route-all-v1.yaml", "10.96.1.1:9080", vec![("productpage-v1:9080", 1000)]),
        ("route-all-v1.yaml", "10.96.1.2:9080", vec![("ratings-v1:9080", 1000)]),
        ("route-all-v1.yaml", "10.96.1.3:9080", vec![("details-v1:9080", 1000)]),
        ("route-reviews-v1.yaml", "10.96.1.0:9080", vec![("reviews-v1:9080", 1000)]),
        ("route-reviews-v3.yaml", "10.96.1.0:9080", vec![("reviews-v3:9080", 1000)]),
        ("route-reviews-50-v3.yaml", "10.96.1.0:9080", vec![("reviews-v1:9080", 500), ("reviews-v3:9080", 500)]),
        ("route-reviews-90-10.yaml", "10.96.1.0:9080", vec![("reviews-v1:9080", 900), ("reviews-v2:9080", 100)]),
    ] {
        let mut mesh = bookinfo();
        mesh.write("f.yaml", &std::fs::read_to_string(dir.join(file)).unwrap());
        assert_eq!(mesh.findings, Vec::<String>::new(), "{file}");
        assert!(mesh.status().iter().all(|line| line.contains("Accepted=True Accepted, ResolvedRefs=True")), "{file}");
        let found = split(&mut mesh, vip);
        assert!(found.keys().eq(shares.iter().map(|(to, _)| to)), "{file}: {found:?}");
        assert!(shares.iter().all(|(to, share)| found[*to].abs_diff(*share) < 60), "{file}: {found:?}");
    }
}

#[test]
fn a_sample_for_gateways_has_no_effect_and_says_so() {
    let Some(dir) = samples("bookinfo/gateway-api") else { return };
    let mut mesh = bookinfo();
    mesh.write("f.yaml", &std::fs::read_to_string(dir.join("bookinfo-gateway.yaml")).unwrap());
    let codes: Vec<_> = mesh.findings.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(codes, ["unsupported-kind", "gateway-route"]);
    let found = mesh.ask("default", "10.96.1.1:9080", "GET /productpage");
    assert!(found.contains("productpage"), "{found}");
}
