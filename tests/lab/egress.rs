//! Where pods may go beyond the mesh: `outboundTrafficPolicy` of Sidecars, and the agent's flag.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use serde_json::Value;
use underpass_tests::{Lab, until};

use crate::authorization_probe::{address, passes, server};
use crate::pair;
use crate::scene::{SOON, apply, delete};

const ALICE: &str = "east/default/alice";
const BOB: &str = "east/other/bob";

fn sidecar(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n"
    )
}

/// Whether a client is answered by what the mesh does not know: an agent's own address, which no pod has.
fn leaves(lab: &Lab, client: &str) -> bool {
    let to = lab.agent("east", "u2").unwrap().address(15021);
    let (data, end) = pair::ask(lab, client, to, b"GET /healthz/ready HTTP/1.0\r\n\r\n").unwrap();
    assert!(data.is_empty() == end.is_err(), "{client}: neither answered nor reset: {data:?} {end:?}");
    !data.is_empty()
}

/// Waits until alice and bob fare so; the mesh is reached all the while.
fn settled(lab: &Lab, what: &str, wanted: (bool, bool)) {
    let seen = || (leaves(lab, ALICE), leaves(lab, BOB));
    until(what, SOON, || (seen() == wanted).then_some(())).unwrap_or_else(|error| panic!("{error:#}: {:?}", seen()));
    for client in [ALICE, BOB] {
        assert!(passes(lab, client, address(lab, &server("far"), 9000)), "{client} reaches the mesh: {what}");
    }
}

/// The newest line of alice's node about a destination that Istio calls so.
fn line(lab: &Lab, cluster: &str) -> Value {
    let agent = lab.agent("east", "u1").unwrap();
    let fits = |line: &Value| line["dst.service"] == cluster && line["src.workload"] == "alice";
    until(cluster, SOON, || agent.access_log().into_iter().rev().find(fits)).unwrap()
}

/// The nearest Sidecar decides; what is refused is told as Istio tells it.
pub fn sidecars(lab: &mut Lab) {
    settled(lab, "ALLOW_ANY is the default", (true, true));
    assert_eq!(line(lab, "PassthroughCluster")["response_flags"], "-");
    let only = "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}";
    let namespace = sidecar("default", "default", only);
    apply(lab, &namespace);
    settled(lab, "REGISTRY_ONLY for a namespace", (false, true));
    let refused = line(lab, "BlackHoleCluster");
    assert_eq!((&refused["response_flags"], &refused["stage"]), (&"UH".into(), &"policy".into()), "{refused:#}");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("Sidecar default/default") && error.contains("REGISTRY_ONLY"), "{refused:#}");
    let labels = [
        ("reporter", "source"),
        ("destination_service_name", "BlackHoleCluster"),
        ("response_flags", "UH"),
        ("source_workload", "alice"),
    ];
    let agent = lab.agent("east", "u1").unwrap();
    assert!(agent.metrics().unwrap().sum("istio_tcp_connections_failed_total", &labels) >= 1.0);
    let own = sidecar(
        "alice",
        "default",
        "{workloadSelector: {labels: {app: alice}}, outboundTrafficPolicy: {mode: ALLOW_ANY}}",
    );
    apply(lab, &own);
    settled(lab, "ALLOW_ANY for a workload of it", (true, true));
    delete(lab, &own);
    delete(lab, &namespace);
    let mesh = sidecar("default", "istio-system", only);
    apply(lab, &mesh);
    settled(lab, "REGISTRY_ONLY for the mesh", (false, false));
    delete(lab, &mesh);
    settled(lab, "without Sidecars", (true, true));
}

/// The flag is for the whole mesh, as far as no Sidecar says otherwise.
pub fn flag(lab: &mut Lab) {
    lab.restart_agent("east", "u1", &["--outbound-traffic-policy", "REGISTRY_ONLY"]).unwrap();
    settled(lab, "the flag", (false, false));
    assert!(line(lab, "BlackHoleCluster")["error"].as_str().unwrap().contains("--outbound-traffic-policy"));
    let other = sidecar("default", "other", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}");
    apply(lab, &other);
    settled(lab, "a Sidecar against the flag", (false, true));
}
