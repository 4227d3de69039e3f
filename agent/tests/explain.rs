//! `underpass explain` and `underpass routes` as processes, from files.

use std::process::{Command, Output};

const MESH: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, clusterIP: 10.96.0.1, ports: [{name: http, port: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
spec: {template: {metadata: {labels: {app: reviews}}, spec: {containers: []}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{method: {exact: POST}, headers: {x: {prefix: a}}}]
    route: [{destination: {host: reviews}}]
";

fn underpass(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("mesh.yaml");
    std::fs::write(&file, MESH).expect("it is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
    command.args(arguments).arg("--files").arg(&file).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_request_is_explained_from_files() {
    let taken = underpass(&["explain", "reviews", "reviews:9080", "POST", "/a", "-H", "x: abc"]);
    let said = text(&taken.stdout);
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    assert!(said.starts_with("POST /a from local/default/reviews to reviews.default.svc.cluster.local:9080"), "{said}");
    assert!(said.contains("takes it: the method `POST`, the header x with prefix `a`\n"), "{said}");
    let left = text(&underpass(&["explain", "reviews", "reviews", "POST", "/a"]).stdout);
    assert!(left.contains(" does not: wants the header x with prefix `a`\n"), "{left}");
    assert!(left.contains("\n404 (NR): none of the rules"), "{left}");
}

#[test]
fn programs_get_objects() {
    let answer = underpass(&["explain", "reviews", "reviews", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["precedence"][2]["inForce"], true);
    let rows: serde_json::Value = serde_json::from_slice(&underpass(&["routes", "-o", "json"]).stdout).unwrap();
    assert_eq!(rows[0]["governedBy"][0], "VirtualService default/reviews");
}

#[test]
fn routes_are_listed_and_what_is_not_there_fails() {
    let listed = text(&underpass(&["routes"]).stdout);
    assert!(listed.starts_with("HOST                               PORT  PROTOCOL  CLIENTS  GOVERNED BY"), "{listed}");
    let failed = underpass(&["explain", "nobody", "reviews"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).starts_with("underpass: no pod or workload is called nobody: "), "{failed:?}");
}
