//! What `underpass explain` and `underpass routes` say of small meshes.

use super::{Question, Unanswered, explain, list, snapshot_of, table, text};
use crate::snapshot::Snapshot;
use crate::source::{Config, Text};
use std::sync::Arc;

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, clusterIP: 10.96.0.1, ports: [{name: http, port: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1, namespace: shop}
spec: {template: {metadata: {labels: {app: reviews, version: v1}}, spec: {containers: []}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v2, namespace: shop}
spec: {template: {metadata: {labels: {app: reviews, version: v2}}, spec: {containers: []}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: []}}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{name: tcp, port: 5432}]}
";

const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - name: testers
    match:
    - headers: {end-user: {exact: jason}}
      uri: {prefix: /api}
    - sourceLabels: {app: tester}
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v2}, weight: 25}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

fn mesh(more: &[&str]) -> Arc<Snapshot> {
    let config = Config {
        local: "local".into(),
        roots: Vec::new(),
        trust_domain: "cluster.local".into(),
        cluster_domain: "cluster.local".to_owned(),
        network: "".into(),
        root_namespace: "istio-system".to_owned(),
    };
    let text = |(at, text): (usize, &&str)| Text { name: format!("f{at}.yaml"), text: (*text).to_owned() };
    let texts: Vec<Text> = [MESH].iter().chain(more).enumerate().map(text).collect();
    snapshot_of(&config, &texts)
}

fn question(destination: &str, path: &str, headers: &[&str]) -> Question {
    Question {
        source: "shop/web".to_owned(),
        destination: destination.to_owned(),
        method: None,
        path: Some(path.to_owned()),
        headers: headers.iter().map(|header| (*header).to_owned()).collect(),
    }
}

#[test]
fn the_rule_that_takes_a_request_and_why_not_the_others() {
    let answer = explain(&mesh(&[ROUTES]), &question("reviews", "/api?x=1", &["end-user: eve"])).unwrap();
    let expected = "GET /api?x=1 from local/shop/web to reviews.shop.svc.cluster.local:9080 (http)

who governs it, the first that has rules
   routes of the client's namespace shop: -
   routes of the service's namespace shop: -
-> VirtualService for the host: shop/reviews
   the service itself: -

its rules, in the order in which they are tried
   http[0] testers (f1.yaml:8:5) does not: wants the header end-user `jason`; or wants the client's label app=tester
-> http[1] (f1.yaml:14:5) takes it: it has no conditions

the request is sent on
   repeated up to 2 times
-> 75% to reviews.shop.svc.cluster.local subset v1; endpoints ready: 1, not ready: 0
   policy of DestinationRule shop/reviews (f1.yaml:18:1)
     loadBalancer: LEAST_REQUEST (default)
-> 25% to reviews.shop.svc.cluster.local subset v2; endpoints ready: 1, not ready: 0
   policy of DestinationRule shop/reviews (f1.yaml:18:1)
     loadBalancer: LEAST_REQUEST (default)
";
    assert_eq!(text(&answer), expected);
    let jason = explain(&mesh(&[ROUTES]), &question("reviews.shop:9080", "/api", &["end-user: jason"])).unwrap();
    assert_eq!((&jason["rules"][0]["takes"], &jason["rules"][1]["takes"]), (&true.into(), &false.into()));
    assert_eq!(jason["outcome"]["destinations"][0]["percent"], 100.0);
}

#[test]
fn a_request_that_no_rule_takes_is_a_404() {
    let routes = ROUTES.replace("  - route:\n", "  - match: [{method: {exact: PUT}}]\n    route:\n");
    let answer = explain(&mesh(&[&routes]), &question("reviews", "/", &[])).unwrap();
    assert!(answer["outcome"]["what"].as_str().unwrap().starts_with("404 (NR)"), "{answer:#}");
    assert!(text(&answer).contains("http[1] (f1.yaml:14:5) does not: wants the method `PUT`\n"), "{}", text(&answer));
}

#[test]
fn a_service_without_rules_governs_itself() {
    let answer = explain(&mesh(&[]), &question("10.96.0.2", "/", &[])).unwrap();
    let shown = text(&answer);
    assert!(shown.starts_with("a connection from local/shop/web to db.shop.svc.cluster.local:5432 (tcp)\n"), "{shown}");
    assert!(shown.contains("-> the service itself: no rule has a say\n"), "{shown}");
    assert!(shown.contains("-> 100% to db.shop.svc.cluster.local:5432; endpoints ready: 0, not ready: 0\n"), "{shown}");
}

#[test]
fn what_is_not_there_is_said() {
    let mesh = mesh(&[]);
    let ask = |source: &str, destination: &str| {
        explain(&mesh, &Question { source: source.to_owned(), ..question(destination, "/", &[]) }).unwrap_err()
    };
    assert_eq!(ask("nobody", "reviews"), Unanswered::Source("nobody".to_owned()));
    let said = ask("shop/web", "ratings").to_string();
    assert_eq!(said, "no service is called ratings from namespace shop; `underpass routes` lists them");
    let said = ask("shop/web", "reviews:80").to_string();
    assert_eq!(said, "reviews.shop.svc.cluster.local has the ports 9080: say which, as HOST:PORT");
    let wrong = explain(&mesh, &question("reviews", "/", &["nonsense"])).unwrap_err().to_string();
    assert_eq!(wrong, "`nonsense` is not a header: write `name: value`");
}

#[test]
fn routes_lists_every_port_with_who_governs_it() {
    let rows = list(&mesh(&[ROUTES]), None).unwrap();
    let shown = table(&rows);
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let db = ["db.shop.svc.cluster.local", "5432", "tcp", "*", "-", "connections", "0", "-", "0"];
    assert_eq!(lines[1], db, "{shown}");
    let reviews = ["reviews.shop.svc.cluster.local", "9080", "http", "*", "VirtualService", "shop/reviews"];
    assert_eq!(lines[2][..6], reviews, "{shown}");
    assert_eq!(lines[2][6..], ["requests", "2", "shop/reviews", "2"], "{shown}");
    assert_eq!(list(&mesh(&[]), Some("shop/web")).unwrap()[0]["clients"], "local/shop/web");
    assert!(list(&mesh(&[]), Some("shop/nobody")).is_err());
}

const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: shop}
spec:
  selector: {matchLabels: {version: v1}}
  rules:
  - from: [{source: {principals: ['*/sa/other']}}]
    to: [{operation: {ports: ['9080']}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop, annotations: {istio.io/dry-run: 'true'}}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}
";

#[test]
fn which_policy_lets_it_in_or_not_and_why() {
    let snapshot = mesh(&[ROUTES, POLICIES]);
    let shown = text(&explain(&snapshot, &question("reviews", "/", &[])).unwrap());
    let expected = "
whether the pods' policies let it in
-> denied at local/shop/reviews-v1: denied by AuthorizationPolicy shop/allow: no rule of an ALLOW policy for the workload matches
   AuthorizationPolicy shop/deny (f2.yaml:11:1; DENY, dry run)
     rules[0] does not match: wants source.namespace in [shop]
   AuthorizationPolicy shop/allow (f2.yaml:2:1; ALLOW)
     rules[0] does not match: wants source.principal in [*/sa/other]
-> allowed at local/shop/reviews-v2: no policy denies it
   AuthorizationPolicy shop/deny (f2.yaml:11:1; DENY, dry run)
     rules[0] does not match: wants source.namespace in [shop]
";
    assert!(shown.ends_with(expected), "{shown}");
    let dumped = snapshot.dump()["authorizationPolicies"].clone();
    assert_eq!(
        (&dumped[0]["id"], &dumped[0]["selects"]),
        (&"shop/allow".into(), &serde_json::json!(["local/shop/reviews-v1"]))
    );
    assert_eq!(
        (&dumped[1]["dryRun"], &dumped[1]["selects"][0]),
        (&true.into(), &"namespace shop".into()),
        "{dumped:#}"
    );
}
