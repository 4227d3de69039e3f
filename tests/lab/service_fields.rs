//! What Services and EndpointSlices say, as Kubernetes means it: ports, kinds of Service, who is near, who is ready.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeSet;

use underpass_tests::{Lab, until};

use crate::http_case::Answer;
use crate::scene::{Pod, SOON, answering, apply, assert_answered, client, delete, http, lab, load, moody, through};

const CLIENT: &str = "east/default/client";

/// The client's node has an agent; the others' pods are outside the mesh. Two nodes are in the client's zone.
const TOPOLOGY: &str = "
clusters:
- name: east
  nodes:
  - {name: a1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
  - {name: a2, agent: false, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
  - {name: b1, agent: false, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z2}}
";

#[test]
fn service_fields() {
    let mut lab = lab("lbsvc", TOPOLOGY);
    let near = |node: &str| {
        Pod { name: &format!("near-{node}"), app: "near", version: node, node, container: http(8080) }.text()
    };
    let far = Pod { name: "far-b1", app: "far", version: "b1", node: "b1", container: http(8080) }.text();
    let scene =
        [client("client", "a1"), ["a1", "a2", "b1"].map(near).concat(), far, near_service("near", ""), idle("waiting")];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, "http://near:8080/");
    through(
        lab,
        &[
            ("targetPort: a number, a name, absent; several ports", target_ports),
            ("appProtocol before the port's name", app_protocol),
            ("clusterIP: None", headless),
            ("type: ExternalName", external_name),
            ("sessionAffinity: ClientIP", session_affinity),
            ("internalTrafficPolicy: Local", internal_traffic_policy),
            ("trafficDistribution", traffic_distribution),
            ("endpoints that are not ready, that terminate", conditions),
        ],
    );
}

/// A Service over the pods `near`, with more of its spec.
fn near_service(name: &str, more: &str) -> String {
    of("near", name, &format!("{more}ports: [{{name: http, port: 8080}}]"))
}

fn of(app: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {app}}}\n  {spec}\n"
    )
}

/// A Service without a selector.
fn idle(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{name: http, port: 8080}}]\n"
    )
}

/// Who answers so many connections.
fn answered_by(lab: &Lab, url: &str) -> BTreeSet<String> {
    let seen = load(lab, CLIENT, url, &["--requests", "24", "--new-connection", "true"]);
    assert_answered(&seen, 24);
    seen["by_version"].as_object().unwrap().keys().cloned().collect()
}

/// Waits until exactly these answer, whoever did before.
fn comes_to(lab: &Lab, url: &str, wanted: &[&str]) {
    let mut last = BTreeSet::new();
    until(&format!("{wanted:?} answer {url}"), SOON, || {
        let seen = load(lab, CLIENT, url, &["--requests", "24", "--new-connection", "true"]);
        last = seen["by_version"].as_object().unwrap().keys().cloned().collect();
        last.iter().eq(wanted.iter().copied()).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}, but {last:?}"));
    // Not by chance.
    assert!(answered_by(lab, url).iter().eq(wanted.iter().copied()), "{url}");
}

fn local_port(lab: &Lab, url: &str) -> String {
    let answer = Answer::to(lab, CLIENT, url, &[]);
    answer.says("local").rsplit(':').next().unwrap().to_owned()
}

fn target_ports(lab: &mut Lab) {
    let pod = Pod {
        name: "ports-1",
        app: "ports",
        version: "v1",
        node: "a2",
        container: "{name: main, image: echo, ports: [{name: web, containerPort: 8081}, {name: http-more, containerPort: 8082}]}"
            .to_owned(),
    };
    let ports = "ports: [{name: http-a, port: 80, targetPort: web}, {name: http-b, port: 81, targetPort: 8082}, \
                 {name: http-c, port: 8081}]";
    apply(lab, &(pod.text() + &of("ports", "ports", ports)));
    answering(lab, CLIENT, "http://ports:80/");
    let seen = [80, 81, 8081].map(|port| local_port(lab, &format!("http://ports:{port}/")));
    assert_eq!(seen, ["8081", "8082", "8081"]);
    // The pod's port is named otherwise now: the Service's port leads nowhere until it names that.
    apply(lab, &of("ports", "ports", &ports.replace("targetPort: web", "targetPort: http-more")));
    until("another port of the pod", SOON, || (local_port(lab, "http://ports:80/") == "8082").then_some(())).unwrap();
}

fn app_protocol(lab: &mut Lab) {
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: spoken}\nspec:\n  hosts: \
                 [spoken]\n  http: [{directResponse: {status: 418}}]\n";
    // Not the lab's own server, which speaks what the port's name says.
    let pod = Pod { name: "spoken-1", app: "spoken", version: "v1", node: "a2", container: moody("v1", "0", "") };
    apply(lab, &pod.text());
    let named = |name: &str, protocol: &str| {
        of("spoken", "spoken", &format!("ports: [{{name: {name}, port: 8080, appProtocol: {protocol}}}]"))
    };
    let status = |lab: &Lab| code(lab, "http://spoken:8080/");
    for (name, protocol, status_wanted) in [
        ("tcp-a", "http", "418"),
        ("http-a", "tcp", "200"),
        ("a", "kubernetes.io/h2c", "418"),
        ("a", "kubernetes.io/ws", "418"),
        ("a", "mysql", "200"),
    ] {
        // A rule for requests has no effect at a port of bytes, which `analyze` says: both are applied as they are.
        lab.apply_text("east", &(named(name, protocol) + route), "scene").unwrap();
        until(&format!("{name} {protocol}: {status_wanted}"), SOON, || (status(lab) == status_wanted).then_some(()))
            .unwrap();
    }
    delete(lab, route);
}

fn headless(lab: &mut Lab) {
    apply(lab, &near_service("bare", "clusterIP: None\n  "));
    // A client takes one of the pods' addresses by itself, and that is where it goes.
    answering(lab, CLIENT, "http://bare:8080/");
    for node in ["a1", "a2", "b1"] {
        let address = lab.pod(&format!("east/default/near-{node}")).unwrap().v4;
        assert_eq!(answered_by(lab, &format!("http://{address}:8080/")), BTreeSet::from([node.to_owned()]));
    }
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bare}\nspec:\n  hosts: \
                 [bare]\n  http: [{directResponse: {status: 418}}]\n";
    apply(lab, route);
    let status = |lab: &Lab| Answer::to(lab, CLIENT, "http://bare:8080/", &[]).status;
    until("a rule for its name is in force", SOON, || (status(lab) == "418").then_some(())).unwrap();
    delete(lab, &(route.to_owned() + &near_service("bare", "")));
}

fn external_name(lab: &mut Lab) {
    let alias = "---\napiVersion: v1\nkind: Service\nmetadata: {name: alias}\nspec:\n  type: ExternalName\n  \
                 externalName: far.default.svc.cluster.local\n";
    apply(lab, &(of("far", "far", "ports: [{name: http, port: 8080}]") + alias));
    comes_to(lab, "http://alias:8080/", &["b1"]);
    // As the destination of a rule it is the Service that it stands for.
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: near}\nspec:\n  hosts: \
                 [near]\n  http: [{route: [{destination: {host: alias, port: {number: 8080}}}]}]\n";
    apply(lab, route);
    let app = |lab: &Lab| Answer::to(lab, CLIENT, "http://near:8080/", &[]).says("app");
    until("the alias as a destination", SOON, || (app(lab) == "far").then_some(())).unwrap();
    delete(lab, route);
    comes_to(lab, "http://near:8080/", &["a1", "a2", "b1"]);
}

fn session_affinity(lab: &mut Lab) {
    apply(lab, &near_service("sticky", "sessionAffinity: ClientIP\n  "));
    answering(lab, CLIENT, "http://sticky:8080/");
    let mut first = BTreeSet::new();
    until("one pod answers this client", SOON, || {
        first = answered_by(lab, "http://sticky:8080/");
        (first.len() == 1).then_some(())
    })
    .unwrap();
    assert_eq!(answered_by(lab, "http://sticky:8080/"), first);
    apply(lab, &near_service("sticky", "sessionAffinity: None\n  "));
    comes_to(lab, "http://sticky:8080/", &["a1", "a2", "b1"]);
}

fn internal_traffic_policy(lab: &mut Lab) {
    apply(lab, &near_service("local", "internalTrafficPolicy: Local\n  "));
    answering(lab, CLIENT, "http://local:8080/");
    comes_to(lab, "http://local:8080/", &["a1"]);
    apply(lab, &near_service("local", "internalTrafficPolicy: Cluster\n  "));
    comes_to(lab, "http://local:8080/", &["a1", "a2", "b1"]);
    // None on this node: it fails, and goes nowhere else.
    apply(lab, &of("far", "lonely", "internalTrafficPolicy: Local\n  ports: [{name: http, port: 8080}]"));
    until("no endpoint of this node", SOON, || refused(lab, "http://lonely:8080/").then_some(())).unwrap();
}

/// Whether a request gets 503, or no answer at all where its port is not routed by request.
fn refused(lab: &Lab, url: &str) -> bool {
    matches!(&*code(lab, url), "503" | "000")
}

/// The status, `000` where there is no answer.
fn code(lab: &Lab, url: &str) -> String {
    let output = lab.exec(CLIENT, &["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", url]).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn traffic_distribution(lab: &mut Lab) {
    let put = |lab: &mut Lab, value: &str| apply(lab, &near_service("close", value));
    put(lab, "trafficDistribution: PreferSameNode\n  ");
    answering(lab, CLIENT, "http://close:8080/");
    comes_to(lab, "http://close:8080/", &["a1"]);
    put(lab, "trafficDistribution: PreferSameZone\n  ");
    comes_to(lab, "http://close:8080/", &["a1", "a2"]);
    put(lab, "");
    comes_to(lab, "http://close:8080/", &["a1", "a2", "b1"]);
    put(lab, "trafficDistribution: PreferClose\n  ");
    comes_to(lab, "http://close:8080/", &["a1", "a2"]);
    // It is a preference: where nobody is near, the others serve.
    apply(lab, &of("far", "distant", "trafficDistribution: PreferSameNode\n  ports: [{name: http, port: 8080}]"));
    answering(lab, CLIENT, "http://distant:8080/");
    comes_to(lab, "http://distant:8080/", &["b1"]);
}

/// A slice of the Service `waiting` with the pods of these nodes in these conditions.
fn slice(lab: &Lab, endpoints: &[(&str, &str)]) -> String {
    let endpoint = |(node, conditions): &(&str, &str)| {
        let address = lab.pod(&format!("east/default/near-{node}")).unwrap().v4;
        format!("{{addresses: ['{address}'], nodeName: {node}, conditions: {{{conditions}}}}}")
    };
    let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: waiting-x, labels: \
         {{kubernetes.io/service-name: waiting}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080, protocol: \
         TCP}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn conditions(lab: &mut Lab) {
    const READY: &str = "ready: true, serving: true, terminating: false";
    const ENDING: &str = "ready: false, serving: true, terminating: true";
    const NOT_READY: &str = "ready: false, serving: false, terminating: false";
    const DYING: &str = "ready: false, serving: false, terminating: true";
    const URL: &str = "http://waiting:8080/";
    let put = |lab: &mut Lab, endpoints: &[(&str, &str)]| {
        let text = slice(lab, endpoints);
        apply(lab, &text);
    };
    put(lab, &[("a1", READY), ("a2", ENDING), ("b1", NOT_READY)]);
    answering(lab, CLIENT, URL);
    comes_to(lab, URL, &["a1"]);
    // Where none is ready, those that end still serve (KEP-1669).
    put(lab, &[("a1", NOT_READY), ("a2", ENDING), ("b1", DYING)]);
    comes_to(lab, URL, &["a2"]);
    put(lab, &[("a1", NOT_READY), ("b1", DYING)]);
    until("nobody is left", SOON, || refused(lab, URL).then_some(())).unwrap();
    put(lab, &[("b1", "")]);
    comes_to(lab, URL, &["b1"]);
}
