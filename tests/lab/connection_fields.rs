//! Rules for connections, of both APIs (VirtualService `tcp` and `tls`, TCPRoute, TLSRoute, BackendTLSPolicy), and whom
//! the hosts of a VirtualService are.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use underpass_tests::{Lab, store::Store, until};

use crate::certificate_files::Certificates;
use crate::http_case::Answer;
use crate::scene::{
    Pod, SOON, apply, assert_share, client, delete, http, lab, number, service, tcp, tcp_load, through,
};

const CLIENT: &str = "east/default/client";
const GUEST: &str = "east/other/guest";
/// Who asks, and which version takes its connection.
type Asks = &'static [(&'static str, &'static str)];

/// A match (`{SUBNET}` is the service's own address), and who is taken by it: the others meet the next rule.
const TCP: &[(&str, &str, Asks)] = &[
    ("any", "", &[(CLIENT, "v2"), (GUEST, "v2")]),
    ("port", "port: 9000", &[(CLIENT, "v2")]),
    ("port other", "port: 9001", &[(CLIENT, "v1")]),
    ("destinationSubnets", "destinationSubnets: ['10.99.0.0/16', '{SUBNET}/30']", &[(CLIENT, "v2")]),
    ("destinationSubnets other", "destinationSubnets: ['10.99.0.0/16']", &[(CLIENT, "v1")]),
    ("sourceLabels", "sourceLabels: {app: client}", &[(CLIENT, "v2"), (GUEST, "v1")]),
    ("sourceNamespace", "sourceNamespace: other", &[(CLIENT, "v1"), (GUEST, "v2")]),
    ("gateways", "gateways: [some-gateway]", &[(CLIENT, "v1")]),
    ("all of a match", "port: 9000, sourceNamespace: other", &[(CLIENT, "v1"), (GUEST, "v2")]),
    ("any of several", "port: 9001}, {sourceLabels: {app: client}", &[(CLIENT, "v2"), (GUEST, "v1")]),
];

/// As [`TCP`], for a client that asks for `x.one.example`.
const TLS: &[(&str, &str, Asks)] = &[
    ("sniHosts", "sniHosts: [a.{NAME}.example, x.{NAME}.example]", &[(CLIENT, "v2")]),
    ("sniHosts other", "sniHosts: [y.{NAME}.example]", &[(CLIENT, "v1")]),
    ("sniHosts wildcard", "sniHosts: ['*.{NAME}.example']", &[(CLIENT, "v2")]),
    ("sniHosts wildcard other", "sniHosts: ['*.x.{NAME}.example']", &[(CLIENT, "v1")]),
    ("port", "sniHosts: ['*.{NAME}.example'], port: 8443", &[(CLIENT, "v2")]),
    ("port other", "sniHosts: ['*.{NAME}.example'], port: 443", &[(CLIENT, "v1")]),
    ("destinationSubnets", "sniHosts: ['*.{NAME}.example'], destinationSubnets: ['{SUBNET}/32']", &[(CLIENT, "v2")]),
    (
        "destinationSubnets other",
        "sniHosts: ['*.{NAME}.example'], destinationSubnets: ['10.99.0.0/16']",
        &[(CLIENT, "v1")],
    ),
    ("sourceLabels", "sniHosts: ['*.{NAME}.example'], sourceLabels: {app: guest}", &[(CLIENT, "v1"), (GUEST, "v2")]),
    ("sourceNamespace", "sniHosts: ['*.{NAME}.example'], sourceNamespace: other", &[(CLIENT, "v1"), (GUEST, "v2")]),
];

#[test]
fn connection_fields() {
    let mut lab = lab("lbconn", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let certificates = Certificates::new(&["v1", "v2", "secret.example"]);
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let other = |text: String| text.replace("metadata: {name:", "metadata: {namespace: other, name:");
    let mut scene = vec![
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}\n"
            .to_owned(),
        client("client", "e1") + &other(client("guest", "e1")),
        pod("pipe-v1", "pipe", "v1", "e1", tcp(9000, "v1")) + &pod("pipe-v2", "pipe", "v2", "e2", tcp(9000, "v2")),
        pod("vault-v1", "vault", "v1", "e2", certificates.server("v1", "")),
        pod("vault-v2", "vault", "v2", "e2", certificates.server("v2", "")),
        pod("web-v1", "web", "v1", "e1", http(8080)) + &pod("web-v2", "web", "v2", "e2", http(8080)),
        pod("secret", "secret", "v1", "e2", certificates.server("secret.example", ""))
            .replace("{app: secret,", "{istio.io/dataplane-mode: none, app: secret,"),
        service("secret", "http", 8443) + &service("web", "http", 8080),
        versions("web", "http", 8080) + &versions("pipe", "tcp", 9000) + &versions("vault", "tls", 8443),
        service("pipe", "tcp", 9000)
            + &service("vault", "tls", 8443)
            + &service("mixed", "tcp", 9000).replace("app: mixed", "app: pipe"),
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata: {{ca.crt: {}}}\n",
            certificates.quoted("ca.pem")
        ),
    ];
    for (kind, table, port) in [("tcp", TCP, 9000), ("tls", TLS, 8443)] {
        let app = if kind == "tcp" { "pipe" } else { "vault" };
        let own = |at: usize| {
            service(&format!("{kind}{at}"), kind, port).replace(&format!("app: {kind}{at}"), &format!("app: {app}"))
        };
        scene.extend((0..table.len()).map(own));
    }
    apply(&mut lab, &scene.concat());
    through(
        lab,
        &[
            ("tcp", tcp_rules),
            ("tls", tls_rules),
            ("tls before tcp, and what is not TLS", tls_and_tcp),
            ("hosts: short, full, wildcards, the narrowest first", hosts),
            ("exportTo, and several for one host", exports),
            ("TCPRoute", tcp_route),
            ("TLSRoute", tls_route),
            ("BackendTLSPolicy", backend_tls),
        ],
    );
    drop(certificates);
}

/// Services `NAME-v1` and `NAME-v2`, of the pods of that version.
fn versions(app: &str, protocol: &str, port: u16) -> String {
    let one = |version: &str| {
        service(&format!("{app}-{version}"), protocol, port)
            .replace(&format!("{{app: {app}-{version}}}"), &format!("{{app: {app}, version: {version}}}"))
    };
    one("v1") + &one("v2")
}

fn virtual_service(name: &str, head: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  {head}\n{rules}"
    )
}

/// The first IPv4 address of a Service.
fn address(lab: &Lab, name: &str) -> String {
    let all = Store::open(lab.record.manifests("east")).unwrap().all("Service");
    let found = all.into_iter().find(|service| service.name == name).unwrap();
    underpass_tests::service::addresses(&found.value).remove(0)
}

/// What took a connection of lines.
fn took(lab: &Lab, pod: &str, host: &str) -> String {
    let seen = tcp_load(lab, pod, host, 1);
    let by = seen["by_prefix"].as_object().unwrap();
    by.keys().next().cloned().unwrap_or_else(|| seen["errors"].to_string())
}

/// Whose certificate is shown to a client that asks for this name.
fn shown(lab: &Lab, pod: &str, host: &str, name: &str) -> String {
    let ask = format!(
        "openssl s_client -connect {host} -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -subject"
    );
    let said = lab.exec_ok(pod, &["sh", "-c", &ask]).unwrap_or_default();
    said.trim().rsplit(['=', ' ']).next().unwrap_or_default().to_owned()
}

/// Puts a table in force and asks all of it.
fn ask_all(lab: &mut Lab, kind: &str, table: &[(&str, &str, Asks)], seen: impl Fn(&Lab, &str, &str) -> String) {
    // A rule's server names have to be below the hosts of its VirtualService, as in Istio.
    let last = if kind == "tls" { "match: [{sniHosts: ['*.{NAME}.example']}], " } else { "" };
    let (app, port) = if kind == "tcp" { ("pipe", 9000) } else { ("vault", 8443) };
    let mut text = String::new();
    for (at, (_, matching, _)) in table.iter().enumerate() {
        let to = |version: &str| format!("route: [{{destination: {{host: {app}-{version}}}}}]");
        let name = format!("{kind}{at}");
        let matching = matching.replace("{SUBNET}", &address(lab, &name));
        let first = if matching.is_empty() { String::new() } else { format!("match: [{{{matching}}}], ") };
        let rules = format!("  {kind}:\n  - {{{first}{}}}\n  - {{{last}{}}}\n", to("v2"), to("v1"));
        let head = format!("hosts: [{name}, '*.{name}.example']");
        text += &virtual_service(&name, &head, &rules.replace("{NAME}", &name));
    }
    apply(lab, &text);
    let mut complaints = Vec::new();
    for (at, (field, _, asks)) in table.iter().enumerate() {
        for (pod, version) in *asks {
            let host = format!("{kind}{at}.default:{port}");
            let three = || (0..4).all(|_| seen(lab, pod, &host) == *version).then_some(());
            if until(field, SOON, three).is_err() {
                complaints
                    .push(format!("{kind} {field}: {pod} is taken by {:?}, not {version}", seen(lab, pod, &host)));
            }
        }
    }
    delete(lab, &text);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn tcp_rules(lab: &mut Lab) {
    ask_all(lab, "tcp", TCP, took);
}

fn tls_rules(lab: &mut Lab) {
    ask_all(lab, "tls", TLS, |lab, pod, host| {
        let name = host.split('.').next().unwrap();
        shown(lab, pod, host, &format!("x.{name}.example"))
    });
}

fn tls_and_tcp(lab: &mut Lab) {
    // A name that no rule is for falls to the rules for any bytes.
    let to = |host: &str| format!("route: [{{destination: {{host: {host}}}}}]");
    let rules = format!(
        "  tls:\n  - {{match: [{{sniHosts: [b.example]}}], {}}}\n  tcp:\n  - {{{}}}\n",
        to("vault-v2"),
        to("vault-v1")
    );
    let text = virtual_service("vault", "hosts: [vault, b.example]", &rules);
    apply(lab, &text);
    for (name, version) in [("b.example", "v2"), ("c.example", "v1")] {
        let always = || (0..4).all(|_| shown(lab, CLIENT, "vault:8443", name) == version).then_some(());
        until(&format!("{name} goes to {version}"), SOON, always).unwrap();
    }
    delete(lab, &text);
}

/// A VirtualService that answers everything with this status.
fn answering_with(name: &str, hosts: &str, more: &str, status: u16) -> String {
    let head = format!("hosts: {hosts}{more}");
    virtual_service(name, &head, &format!("  http: [{{directResponse: {{status: {status}}}}}]\n"))
}

fn settles(lab: &Lab, pod: &str, url: &str, status: &str) {
    let mut last = String::new();
    until(&format!("{pod} gets {status} from {url}"), SOON, || {
        last = Answer::to(lab, pod, url, &[]).status;
        (last == status).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}, but {last}"));
}

fn hosts(lab: &mut Lab) {
    let mut before = String::new();
    // Each next one is narrower, and takes the host from those before.
    for (at, hosts) in
        ["['*']", "['*.svc.cluster.local']", "['*.default.svc.cluster.local']", "[web]"].iter().enumerate()
    {
        let text = answering_with(&format!("z{}", 9 - at), hosts, "", 410 + u16::try_from(at).unwrap());
        apply(lab, &text);
        settles(lab, CLIENT, "http://web:8080", &format!("41{at}"));
        before += &text;
    }
    settles(lab, CLIENT, "http://web-v1:8080", "412");
    delete(lab, &before);
    let full = answering_with("full", "[web.default.svc.cluster.local, web-v1]", "", 418);
    apply(lab, &full);
    settles(lab, CLIENT, "http://web:8080", "418");
    settles(lab, CLIENT, "http://web-v1:8080", "418");
    settles(lab, GUEST, "http://web.default:8080", "418");
    delete(lab, &full);
    settles(lab, CLIENT, "http://web:8080", "200");
}

fn exports(lab: &mut Lab) {
    let web = "[web.default.svc.cluster.local]";
    let other = |text: String| text.replace("metadata: {", "metadata: {namespace: other, ");
    let one = answering_with("exports", web, "\n  exportTo: ['.']", 411);
    apply(lab, &one);
    settles(lab, CLIENT, "http://web:8080", "411");
    settles(lab, GUEST, "http://web.default:8080", "200");
    apply(lab, &answering_with("exports", web, "\n  exportTo: [other]", 412));
    settles(lab, CLIENT, "http://web:8080", "200");
    settles(lab, GUEST, "http://web.default:8080", "412");
    apply(lab, &answering_with("exports", web, "\n  exportTo: ['*']", 413));
    settles(lab, CLIENT, "http://web:8080", "413");
    settles(lab, GUEST, "http://web.default:8080", "413");
    // Several for one host: the client's namespace's comes first, then the service's.
    let theirs = other(answering_with("theirs", web, "", 414));
    apply(lab, &theirs);
    settles(lab, GUEST, "http://web.default:8080", "414");
    settles(lab, CLIENT, "http://web:8080", "413");
    // Of one namespace the name decides.
    let first = answering_with("a-first", web, "", 415);
    apply(lab, &first);
    settles(lab, CLIENT, "http://web:8080", "415");
    delete(lab, &(one + &theirs + &first));
    settles(lab, GUEST, "http://web.default:8080", "200");
}

fn gateway_route(kind: &str, name: &str, head: &str, rule: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  {head}\n  rules:\n  - {rule}\n"
    )
}

fn tcp_route(lab: &mut Lab) {
    let parent = "parentRefs: [{group: '', kind: Service, name: pipe, port: 9000}]";
    let text = |a: u32, b: u32| {
        let rule = format!(
            "backendRefs: [{{name: pipe-v1, port: 9000, weight: {a}}}, {{name: pipe-v2, port: 9000, weight: {b}}}]"
        );
        gateway_route("TCPRoute", "pipe", parent, &rule)
    };
    apply(lab, &text(0, 1));
    let all = || (number(&tcp_load(lab, CLIENT, "pipe:9000", 20)["by_prefix"]["v2"]) == 20).then_some(());
    until("every connection goes to version 2", SOON, all).unwrap();
    apply(lab, &text(3, 1));
    until("version 1 as well", SOON, || (took(lab, CLIENT, "pipe:9000") == "v1").then_some(())).unwrap();
    let seen = tcp_load(lab, CLIENT, "pipe:9000", 400);
    assert_eq!(number(&seen["failed"]), 0, "{seen:#}");
    assert_share(number(&seen["by_prefix"]["v2"]), 400, 0.25);
    apply(lab, &gateway_route("TCPRoute", "pipe", parent, "backendRefs: [{name: nobody, port: 9000}]"));
    let refused = || (number(&tcp_load(lab, CLIENT, "pipe:9000", 5)["failed"]) == 5).then_some(());
    until("a backend that is not there refuses", SOON, refused).unwrap();
    delete(lab, &text(0, 1));
}

fn tls_route(lab: &mut Lab) {
    let parent = "parentRefs: [{group: '', kind: Service, name: vault, port: 8443}]";
    let text = |name: &str, hosts: &str, to: &str| {
        let head = format!("{parent}\n  hostnames: {hosts}");
        gateway_route("TLSRoute", name, &head, &format!("backendRefs: [{{name: {to}, port: 8443}}]"))
    };
    let all = text("wide", "['*.example']", "vault-v1") + &text("narrow", "[b.example]", "vault-v2");
    apply(lab, &all);
    for (name, version) in [("b.example", "v2"), ("c.example", "v1"), ("x.y.example", "v1")] {
        let always = || (0..4).all(|_| shown(lab, CLIENT, "vault:8443", name) == version).then_some(());
        until(&format!("{name} goes to {version}"), SOON, always).unwrap();
    }
    delete(lab, &all);
}

fn backend_tls(lab: &mut Lab) {
    let policy = |validation: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: secret}}\nspec:\n  \
             targetRefs: [{{group: '', kind: Service, name: secret}}]\n  validation: {{{validation}}}\n"
        )
    };
    // Where there is no page there is a reset: nothing asks for requests to be routed there.
    let said = |lab: &Lab| lab.exec_ok(CLIENT, &["curl", "-sf", "-m", "8", "http://secret:8443/"]);
    let own = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]";
    let page = |lab: &Lab| said(lab).is_ok_and(|page| page.contains("TLSv1.3")).then_some(());
    let refused = |lab: &Lab| said(lab).is_err().then_some(());
    apply(lab, &policy(&format!("hostname: secret.example, {own}")));
    until("the server's page of TLS", SOON, || page(lab)).unwrap();
    assert!(said(lab).unwrap().contains("secret.example"), "the name is asked for");
    apply(lab, &policy("hostname: secret.example, wellKnownCACertificates: System"));
    until("a CA that the machine does not trust", SOON, || refused(lab)).unwrap();
    apply(lab, &policy(&format!("hostname: other.example, {own}")));
    until("another name", SOON, || refused(lab)).unwrap();
    apply(
        lab,
        &policy(&format!(
            "hostname: other.example, subjectAltNames: [{{type: Hostname, hostname: secret.example}}], {own}"
        )),
    );
    until("a name of subjectAltNames", SOON, || page(lab)).unwrap();
    delete(lab, &policy(""));
}
