//! Pods, Services, EndpointSlices, and kinds that are not read.

use super::{Dir, assert_findings, changes, config, services, slices, workloads};
use crate::model::{AppProtocol, Distribution, ServiceKind, TunnelProtocol, Workload};
use crate::source::read_once;
use crate::source::service::protocol;

const NAMESPACE: &str =
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels: {istio.io/dataplane-mode: ambient}\n";

fn pod(meta: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-5d4f-x7x2z\n{meta}spec:\n  nodeName: n1\n{spec}status:\n  \
         phase: Running\n  podIP: 10.0.0.1\n  podIPs: [{{ip: 10.0.0.1}}, {{ip: 'fd00::1'}}]\n  conditions: [{{type: Ready, status: 'True'}}]\n"
    )
}

fn one(meta: &str, spec: &str, namespace: &str) -> Workload {
    let dir = Dir::new(&[("ns.yaml", namespace), ("pod.yaml", &pod(meta, spec))]);
    assert_findings(&dir.findings(), &[]);
    workloads(&dir.read()).remove(0)
}

#[test]
fn a_pod_is_who_and_where_it_says() {
    let meta = "  labels: {app: web, version: v2, pod-template-hash: 5d4f}\n  ownerReferences: [{kind: ReplicaSet, name: web-v2-5d4f, controller: true}]\n";
    let pod = one(meta, "  serviceAccountName: shop\n", NAMESPACE);
    assert_eq!(pod.identity.to_string(), "spiffe://cluster.local/ns/default/sa/shop");
    assert_eq!(format!("{:?}", pod.addresses), "[10.0.0.1, fd00::1]");
    assert_eq!((pod.id.to_string().as_str(), pod.node.as_str()), ("east/default/web-5d4f-x7x2z", "n1"));
    assert_eq!((&*pod.owner, &*pod.canonical_service, &*pod.canonical_revision), ("web-v2", "web", "v2"));
    assert!(pod.ready);
}

#[test]
fn owners_and_canonical_names_fall_back_as_istio_does() {
    let owner = |kind: &str, name: &str| format!("  ownerReferences: [{{kind: {kind}, name: {name}}}]\n");
    let hash = "  labels: {pod-template-hash: 5d4f}\n";
    for (meta, expected, service) in [
        (owner("ReplicaSet", "web-5d4f") + hash, "web", "web"),
        (owner("ReplicaSet", "other"), "other", "other"),
        (owner("StatefulSet", "db"), "db", "db"),
        (owner("Job", "backup-28123456"), "backup", "backup"),
        (hash.to_owned(), "web", "web"),
        (String::new(), "web-5d4f-x7x2z", "web-5d4f-x7x2z"),
        ("  labels: {app: a, app.kubernetes.io/name: b}\n".to_owned(), "web-5d4f-x7x2z", "b"),
        ("  labels: {app: a, service.istio.io/canonical-name: c}\n".to_owned(), "web-5d4f-x7x2z", "c"),
    ] {
        let pod = one(&meta, "", NAMESPACE);
        assert_eq!((&*pod.owner, &*pod.canonical_service), (expected, service), "{meta}");
        assert_eq!((&*pod.canonical_revision, pod.identity.service_account.as_str()), ("latest", "default"));
    }
}

#[test]
fn enrolment_and_tunnel() {
    use TunnelProtocol::{Hbone, Plaintext, Underpass};
    let none = NAMESPACE.replace("ambient", "none");
    let label = |mode: &str| format!("  labels: {{istio.io/dataplane-mode: {mode}}}\n");
    let note = |text: &str| format!("  annotations: {{{text}}}\n");
    let redirected = note("ambient.istio.io/redirection: enabled");
    for (meta, spec, namespace, enrolled, tunnel) in [
        (String::new(), "", NAMESPACE, true, Underpass),
        (String::new(), "", none.as_str(), false, Plaintext),
        (label("none"), "", NAMESPACE, false, Plaintext),
        (label("underpass"), "", &none, true, Underpass),
        (String::new(), "  hostNetwork: true\n", NAMESPACE, false, Plaintext),
        (note("underpass.io/tunnel: hbone"), "", NAMESPACE, true, Hbone),
        (note("underpass.io/tunnel: hbone"), "", &none, false, Plaintext),
        (redirected.clone(), "", NAMESPACE, false, Hbone),
        (redirected, "  hostNetwork: true\n", NAMESPACE, false, Plaintext),
        (note("ambient.istio.io/redirection: enabled, underpass.io/tunnel: underpass"), "", NAMESPACE, true, Underpass),
    ] {
        let pod = one(&meta, spec, namespace);
        assert_eq!((pod.enrolled, pod.tunnel), (enrolled, tunnel), "{meta}{spec}{namespace}");
    }
}

#[test]
fn pods_that_are_over_or_not_there_yet_are_left_out() {
    for (from, to) in [
        ("Running", "Succeeded"),
        ("Running", "Failed"),
        ("podIP: 10.0.0.1\n  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]", "hostIP: 1.2.3.4"),
    ] {
        let dir = Dir::new(&[("pod.yaml", &pod("", "").replace(from, to))]);
        assert_eq!(changes(&dir.read()), [] as [&str; 0]);
        assert_findings(&dir.findings(), &[]);
    }
}

#[test]
fn typos_in_words_of_ours_are_said_and_the_pod_is_known_all_the_same() {
    let meta = "  labels: {istio.io/dataplane-mode: sidecar}\n  annotations:\n    underpass.io/tunnel: ipsec\n";
    let dir = Dir::new(&[("ns.yaml", NAMESPACE), ("pod.yaml", &pod(meta, ""))]);
    assert_findings(
        &dir.findings(),
        &[
            "error invalid-value pod.yaml:5:12 metadata.labels[istio.io/dataplane-mode]: `sidecar` is not a mode: it is ambient, underpass or none",
            "error invalid-value pod.yaml:7:5 metadata.annotations[underpass.io/tunnel]: `ipsec` is not a tunnel: it is underpass or hbone",
        ],
    );
    let pod = workloads(&dir.read()).remove(0);
    assert_eq!((pod.enrolled, pod.tunnel), (true, TunnelProtocol::Underpass));
}

#[test]
fn networks_are_said_by_the_pod_or_by_its_cluster() {
    let root = "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: n-west}}\n";
    let labelled = "  labels: {topology.istio.io/network: own}\n";
    let east = Dir::new(&[("a.yaml", &pod("", ""))]);
    let west =
        Dir::new(&[("a.yaml", &pod("", "").replace("web-", "x-")), ("b.yaml", &pod(labelled, "")), ("ns.yaml", root)]);
    let mut config = config(&[("east", east.path().into()), ("west", west.path().into())]);
    config.network = "n-east".into();
    let pods = workloads(&read_once(config));
    let networks: Vec<_> = pods.iter().map(|pod| format!("{} {}", pod.id, pod.network)).collect();
    assert_eq!(
        networks,
        ["east/default/web-5d4f-x7x2z n-east", "west/default/web-5d4f-x7x2z own", "west/default/x-5d4f-x7x2z n-west"]
    );
}

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: reviews, namespace: shop}}\nspec:\n{spec}")
}

#[test]
fn a_service_is_its_addresses_and_tcp_ports() {
    let spec = "  clusterIP: 10.96.0.1\n  clusterIPs: [10.96.0.1, 'fd00::9']\n  ports:\n  - {name: http, port: 80, targetPort: web}\n  \
                - {name: dns, port: 53, protocol: UDP}\n  - {name: db, port: 90, appProtocol: kubernetes.io/h2c}\n";
    let dir = Dir::new(&[("f.yaml", &service(spec))]);
    assert_findings(&dir.findings(), &[]);
    let service = services(&dir.read()).remove(0);
    assert_eq!(service.host.as_str(), "reviews.shop.svc.cluster.local");
    assert_eq!(format!("{:?}", service.addresses), "[10.96.0.1, fd00::9]");
    let ports: Vec<_> = service.ports.iter().map(|port| (port.number, &*port.name, port.protocol)).collect();
    assert_eq!(ports, [(80, "http", AppProtocol::Http), (90, "db", AppProtocol::Http2)]);
}

#[test]
fn protocols_are_selected_as_istio_does() {
    use AppProtocol::{Grpc, Http, Http2, Tcp, Tls, Unknown};
    for (number, name, app, expected) in [
        (80, "http", None, Http),
        (80, "HTTP-web", None, Http),
        (80, "http2-x", None, Http2),
        (80, "grpc", None, Grpc),
        (80, "grpc-web-x", None, Http),
        (80, "https", None, Tls),
        (80, "tls-x", None, Tls),
        (80, "http_proxy", None, Http),
        (80, "mysql", None, Tcp),
        (25, "", None, Tcp),
        (27017, "mongo-x", None, Tcp),
        (80, "mongo", None, Tcp),
        (80, "redis-a", None, Tcp),
        (80, "tcp-http", None, Tcp),
        (80, "httpx", None, Unknown),
        (80, "", None, Unknown),
        (3306, "", None, Tcp),
        (3306, "http", None, Http),
        (80, "tcp", Some("http"), Http),
        (80, "http", Some("tcp"), Tcp),
        (80, "", Some("kubernetes.io/ws"), Http),
        (80, "", Some("kubernetes.io/wss"), Tls),
        (80, "x", Some("kubernetes.io/h2c"), Http2),
        (443, "http", Some("HTTPS"), Tls),
        (80, "http", Some("acme.io/x"), Unknown),
    ] {
        assert_eq!(protocol(number, name, app), expected, "{number} {name} {app:?}");
    }
}

#[test]
fn services_are_checked() {
    for (spec, expected, there) in [
        ("  clusterIP: None\n", vec![], true),
        ("  type: ExternalName\n  externalName: a.b\n", vec![], true),
        ("  type: ExternalName\n", vec!["error missing-field f.yaml:4:1 spec: `externalName` is missing"], false),
        (
            "  type: ExternalName\n  externalName: 10.0.0.1\n",
            vec!["error invalid-host f.yaml:6:17 spec.externalName: `10.0.0.1` is not a DNS name"],
            false,
        ),
        ("  type: Cluster\n", vec!["error invalid-value f.yaml:5:9 spec.type: `Cluster` is not a type"], false),
        (
            "  sessionAffinity: clientIP\n",
            vec!["error invalid-value f.yaml:5:20 spec.sessionAffinity: `clientIP` is not an affinity"],
            false,
        ),
        (
            "  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}\n",
            vec!["error invalid-value f.yaml:6:54 spec.sessionAffinityConfig.clientIP.timeoutSeconds: 90000 is not"],
            false,
        ),
        (
            "  internalTrafficPolicy: local\n",
            vec!["error invalid-value f.yaml:5:26 spec.internalTrafficPolicy: `local` is not a policy"],
            false,
        ),
        (
            "  trafficDistribution: Near\n",
            vec!["warning unsupported-value f.yaml:5:3 spec.trafficDistribution: `Near` is not known"],
            true,
        ),
        (
            "  prots: []\n",
            vec!["error unknown-field f.yaml:5:3 spec.prots: there is no such field; did you mean `ports`?"],
            false,
        ),
        ("  ports: [{port: 0}]\n", vec!["error invalid-port f.yaml:5:18 spec.ports[0].port: 0 is not a port"], false),
        (
            "  ports: [{port: 1, protocol: tcp}]\n",
            vec!["error invalid-value f.yaml:5:31 spec.ports[0].protocol: `tcp` is not a protocol"],
            false,
        ),
        (
            "  ports: [{port: 1, name: a}, {port: 1, name: b}]\n",
            vec!["error duplicate-port f.yaml:5:31 spec.ports[1]: "],
            false,
        ),
        (
            "  clusterIP: 10.0.0\n",
            vec!["error invalid-value f.yaml:5:14 spec.clusterIP: `10.0.0` is neither an address nor None"],
            false,
        ),
    ] {
        let dir = Dir::new(&[("f.yaml", &service(spec))]);
        assert_findings(&dir.findings(), &expected);
        assert_eq!(services(&dir.read()).len(), usize::from(there), "{spec}");
    }
}

#[test]
fn what_a_service_says_of_the_choice_of_endpoints() {
    let read = |text: &str| {
        let dir = Dir::new(&[("f.yaml", text)]);
        assert_findings(&dir.findings(), &[]);
        services(&dir.read()).remove(0)
    };
    let affinity = |spec: &str| read(&service(spec)).affinity.map(|time| time.as_secs());
    assert_eq!(affinity("  sessionAffinity: None\n"), None);
    assert_eq!(affinity("  sessionAffinity: ClientIP\n"), Some(10_800));
    let timeout = "  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}\n";
    assert_eq!(affinity(timeout), Some(60));
    assert!(read(&service("  internalTrafficPolicy: Local\n")).node_local);
    let annotated = |value: &str, spec: &str| {
        let note = format!("metadata: {{annotations: {{networking.istio.io/traffic-distribution: {value}}}, ");
        read(&service(spec).replace("metadata: {", &note)).distribution
    };
    for (annotation, spec, expected) in [
        ("''", "  trafficDistribution: PreferClose\n", Distribution::SameZone),
        ("''", "  trafficDistribution: PreferSameZone\n", Distribution::SameZone),
        ("PreferSameZone", "  trafficDistribution: PreferSameNode\n", Distribution::SameNode),
        ("PreferClose", "  clusterIP: None\n", Distribution::SameZone),
        ("Any", "  clusterIP: None\n", Distribution::Any),
    ] {
        assert_eq!(annotated(annotation, spec), expected, "{annotation} {spec}");
    }
}

#[test]
fn a_service_is_a_virtual_address_or_its_pods_or_another_name() {
    for (spec, expected) in [
        ("  clusterIP: 10.0.0.1\n", ServiceKind::Virtual),
        ("  clusterIP: None\n", ServiceKind::Headless),
        ("  clusterIPs: [None]\n", ServiceKind::Headless),
        ("  type: LoadBalancer\n  clusterIP: 10.0.0.1\n", ServiceKind::Virtual),
        ("  type: ExternalName\n  externalName: DB.Example.com.\n", ServiceKind::Alias("db.example.com".into())),
    ] {
        let dir = Dir::new(&[("f.yaml", &service(spec))]);
        assert_eq!(services(&dir.read()).remove(0).kind, expected, "{spec}");
    }
}

fn slice(rest: &str) -> String {
    let head =
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: reviews-x\n  namespace: shop\n";
    format!("{head}  labels: {{kubernetes.io/service-name: reviews}}\n{rest}")
}

#[test]
fn endpoints_are_ready_unless_they_say_otherwise() {
    let rest = "addressType: IPv4\nports:\n- {name: http, port: 8080}\n- {name: dns, port: 53, protocol: UDP}\n- {port: 90}\nendpoints:\n\
                - addresses: [10.0.0.1]\n- addresses: [10.0.0.2]\n  conditions: {ready: false, serving: true, terminating: true}\n\
                - addresses: [10.0.0.3]\n  conditions: {ready: ~}\n  targetRef: {kind: Pod, name: x}\n";
    let dir = Dir::new(&[("f.yaml", &slice(rest))]);
    assert_findings(&dir.findings(), &[]);
    let slice = slices(&dir.read()).remove(0);
    assert_eq!(slice.service.as_str(), "reviews.shop.svc.cluster.local");
    let ready: Vec<_> = slice.addresses.iter().map(|address| format!("{} {}", address.ip, address.ready)).collect();
    assert_eq!(ready, ["10.0.0.1 true", "10.0.0.2 false", "10.0.0.3 true"]);
    let ports: Vec<_> = slice.ports.iter().map(|port| (&*port.name, port.number)).collect();
    assert_eq!(ports, [("http", 8080), ("", 90)]);
}

#[test]
fn endpoints_say_how_they_end_where_they_are_and_for_whom() {
    let rest = "addressType: IPv4\nports: []\nendpoints:\n- addresses: [10.0.0.1]\n  conditions: {ready: false, serving: true, terminating: true}\n  \
                nodeName: n1\n  zone: z1\n  hints: {forZones: [{name: z1}, {name: z2}], forNodes: [{name: n1}]}\n\
                - addresses: [10.0.0.2]\n  conditions: {ready: false}\n";
    let dir = Dir::new(&[("f.yaml", &slice(rest))]);
    assert_findings(&dir.findings(), &[]);
    let slice = slices(&dir.read()).remove(0);
    let [ending, other] = &slice.addresses[..] else { panic!("{slice:?}") };
    assert_eq!((ending.ready, ending.serving, ending.terminating), (false, true, true));
    assert_eq!((ending.node.as_ref().map(|node| node.as_str()), ending.zone.as_deref()), (Some("n1"), Some("z1")));
    assert_eq!(format!("{:?} {:?}", ending.for_zones, ending.for_nodes), r#"["z1", "z2"] ["n1"]"#);
    assert_eq!((other.ready, other.serving, other.terminating, &other.node), (false, false, false, &None));
}

#[test]
fn slices_are_checked() {
    for (rest, expected) in [
        ("addressType: FQDN\n", "warning unsupported-field f.yaml:7:1 addressType: "),
        ("addressType: IPv5\n", "error invalid-value f.yaml:7:14 addressType: `IPv5` is not a type of addresses"),
        (
            "addressType: IPv4\nendpoints:\n- addresses: [x]\n",
            "error invalid-value f.yaml:9:15 endpoints[0].addresses[0]: `x` is not an address",
        ),
        (
            "addressType: IPv4\nports: [{port: 99999}]\n",
            "error invalid-port f.yaml:8:16 ports[0].port: 99999 is not a port",
        ),
    ] {
        let dir = Dir::new(&[("f.yaml", &slice(rest))]);
        assert_findings(&dir.findings(), &[expected]);
        assert!(slices(&dir.read()).is_empty());
    }
}

#[test]
fn kinds_that_are_not_read() {
    let object = |api: &str, kind: &str| {
        format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{anything: 1}}\n")
    };
    for (api, kind, expected) in [
        ("v1", "Node", None),
        ("apps/v1", "Deployment", None),
        ("rbac.authorization.k8s.io/v1", "Role", None),
        ("storage.k8s.io/v1", "StorageClass", None),
        (
            "networking.istio.io/v1",
            "Gateway",
            Some("warning unsupported-kind f.yaml:1:1 Gateway x has no effect in the mesh"),
        ),
        (
            "networking.istio.io/v1",
            "ServiceEntry",
            Some("warning unsupported-kind f.yaml:1:1 ServiceEntry x has no effect"),
        ),
        (
            "gateway.networking.k8s.io/v1",
            "UDPRoute",
            Some("warning unsupported-kind f.yaml:1:1 UDPRoute x has no effect"),
        ),
        (
            "v1",
            "Servcie",
            Some(
                "error unknown-kind f.yaml:2:7 kind: Servcie of v1 is not known: did you mean Service (apiVersion v1)?",
            ),
        ),
        (
            "v1",
            "Deployment",
            Some(
                "error unknown-kind f.yaml:2:7 kind: Deployment of v1 is not known: did you mean Deployment (apiVersion apps/v1)?",
            ),
        ),
        (
            "acme.io/v1",
            "Rocket",
            Some("error unknown-kind f.yaml:2:7 kind: Rocket of acme.io/v1 is not known: remove it"),
        ),
    ] {
        let dir = Dir::new(&[("f.yaml", &object(api, kind))]);
        assert_findings(&dir.findings(), &expected.into_iter().collect::<Vec<_>>());
        assert_eq!(changes(&dir.read()), [] as [&str; 0]);
    }
}
