//! How endpoints are spoken to: DestinationRule's `connectionPool`, `tls`, `proxyProtocol`, `tunnel`, and for whom and what
//! a rule is (ports, subsets, `workloadSelector`, `exportTo`).
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::Value;
use underpass_tests::{Lab, install, run, until};

use crate::certificate_files::Certificates;
use crate::http_case::Answer;
use crate::pair::{at, connect, logged};
use crate::scene::{
    Pod, SOON, answering, apply, client, delete, destination_rule, finish, hold, http, lab, load, number, reachable,
    running, service, tcp, tcp_load, through, virtual_service,
};

const CLIENT: &str = "east/default/client";
const GUEST: &str = "east/other/guest";
const SHOP: &str = "http://shop.default:8080";

/// Says what came first, in hexadecimal.
const PEEK: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 9000, Listen => 9, ReuseAddr => 1) or \
                    die; while ($c = $s->accept) { sysread($c, $b, 200); print $c unpack('H*', $b), qq(\\n); close $c }";

#[test]
fn upstream_fields() {
    let topology = "clusters: [{name: east, nodes: [{name: e1}, {name: e2}, {name: e3, agent: false}]}]";
    let mut lab = lab("lbup", topology);
    let certificates = Certificates::new(&["secret.example", "client.example"]);
    // Where the steps find them.
    for file in ["ca.pem", "client.example.pem", "client.example.key"] {
        std::fs::copy(certificates.path(file), lab.record.dir().join(file)).unwrap();
    }
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let other = |text: String| text.replace("metadata: {name:", "metadata: {namespace: other, name:");
    let asks = format!("-Verify 1 -verify_return_error -CAfile {}", certificates.path("ca.pem"));
    let two_ports = "---\napiVersion: v1\nkind: Service\nmetadata: {name: ports}\nspec:\n  selector: {app: shop}\n  \
                     ports: [{name: http, port: 8080}, {name: http-more, port: 8081, targetPort: 8080}]\n";
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: mine}}\ntype: kubernetes.io/tls\n\
         data: {{tls.crt: {}, tls.key: {}, ca.crt: {}}}\n",
        certificates.encoded("client.example.pem"),
        certificates.encoded("client.example.key"),
        certificates.encoded("ca.pem")
    );
    let scene = [
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}\n"
            .to_owned(),
        client("client", "e1") + &other(client("guest", "e1")) + two_ports,
        service("shop", "http", 8080) + &pod("shop-1", "shop", "v1", "e2", http(8080)),
        service("plain", "http", 8080) + &pod("plain-1", "plain", "v1", "e3", http(8080)),
        service("lines", "tcp", 9000) + &pod("lines-1", "lines", "v1", "e3", tcp(9000, "yes")),
        proxy(&lab, "proxy", "e2") + &proxy(&lab, "gate", "e3"),
        service("secret", "http", 8443),
        pod("secret-1", "secret", "v1", "e3", certificates.server("secret.example", "")),
        service("strict", "http", 8443),
        pod("strict-1", "strict", "v1", "e3", certificates.server("secret.example", &asks)),
        service("peek", "tcp", 9000) + &pod("peek-1", "peek", "v1", "e2", running(&["perl", "-e", PEEK])),
        pod("peek-2", "peek", "v2", "e3", running(&["perl", "-e", PEEK])),
        service("void", "http", 8080) + &pod("void-1", "void", "v1", "e3", http(8080)) + &secret,
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, SHOP);
    answering(&lab, CLIENT, "http://plain:8080");
    reachable(&lab, CLIENT, "lines:9000");
    through(
        lab,
        &[
            ("connectionPool.http.maxRequestsPerConnection", requests_per_connection),
            ("connectionPool.http.http1MaxPendingRequests", pending),
            ("connectionPool.http.idleTimeout", idle),
            ("connectionPool.tcp.maxConnectionDuration, of requests", age),
            ("connectionPool.http.h2UpgradePolicy, useClientProtocol", upgrade),
            ("connectionPool.http.maxConcurrentStreams", streams),
            ("connectionPool.tcp.tcpKeepalive", keepalive),
            ("connectionPool.tcp.connectTimeout", connect_timeout),
            ("tls.mode: DISABLE, ISTIO_MUTUAL", mesh_modes),
            ("tls.mode: SIMPLE with sni, subjectAltNames, caCertificates", simple),
            ("tls.mode: MUTUAL with files and with a Secret", mutual),
            ("proxyProtocol", proxy_protocol),
            ("tunnel", tunnel),
            ("portLevelSettings, subsets", narrower),
            ("workloadSelector, exportTo", whose),
            ("retryBudget", retry_budget),
        ],
    );
    drop(certificates);
}

/// What the application says of so many requests, one after the other on one connection of the client's.
fn in_a_row(lab: &Lab, host: &str, count: usize, more: &[&str]) -> Vec<Value> {
    let url = format!("http://{host}/");
    let words = [&["curl", "-sS", "-m", "8"], more, &vec![url.as_str(); count][..]].concat();
    let text = lab.exec_ok(CLIENT, &words).unwrap_or_else(|error| panic!("{error:#}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect()
}

/// From how many connections the application says that these came.
fn connections(said: &[Value]) -> usize {
    said.iter().map(|one| one["client"].as_str().unwrap()).collect::<BTreeSet<_>>().len()
}

fn requests_per_connection(lab: &mut Lab) {
    for host in ["shop:8080", "plain:8080"] {
        assert_eq!(connections(&in_a_row(lab, host, 4, &[])), 1, "{host}");
        let name = host.split(':').next().unwrap();
        for (most, wanted) in [(1, 4), (2, 2)] {
            apply(
                lab,
                &destination_rule(name, &format!("{{connectionPool: {{http: {{maxRequestsPerConnection: {most}}}}}}}")),
            );
            let as_wanted = || (connections(&in_a_row(lab, host, 4, &[])) == wanted).then_some(());
            until(&format!("{host}: {wanted} connections for 4 requests"), SOON, as_wanted).unwrap();
        }
        delete(lab, &destination_rule(name, "{}"));
    }
}

fn age(lab: &mut Lab) {
    for host in ["shop:8080", "plain:8080"] {
        let name = host.split(':').next().unwrap();
        let rule = destination_rule(name, "{connectionPool: {tcp: {maxConnectionDuration: 1500ms}}}");
        apply(lab, &rule);
        let renewed = || {
            let seen = connections(&in_a_row(lab, host, 4, &["--rate", "60/m"]));
            (seen == 2 || seen == 3).then_some(())
        };
        until(&format!("{host}: connections are made anew"), SOON, renewed).unwrap();
        delete(lab, &rule);
    }
}

fn pending(lab: &mut Lab) {
    let url = format!("{SHOP}/delay/300");
    let words = ["--requests", "12", "--concurrency", "12", "--new-connection", "true"];
    let statuses = |lab: &Lab| {
        let seen = load(lab, CLIENT, &url, &words);
        (number(&seen["statuses"]["200"]), number(&seen["statuses"]["503"]))
    };
    apply(
        lab,
        &destination_rule("shop", "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2}}}"),
    );
    // One is under way and two wait for its connection.
    until("who would have to wait gets 503", SOON, || (statuses(lab) == (3, 9)).then_some(()))
        .unwrap_or_else(|error| panic!("{error:#}, but {:?}", statuses(lab)));
    delete(lab, &destination_rule("shop", "{}"));
    until("without the rule all are answered", SOON, || (statuses(lab) == (12, 0)).then_some(())).unwrap();
}

/// Two requests on one connection of the client's, with a pause; from how many connections the application says they came.
fn with_pause(lab: &Lab, to: &str, pause: Duration) -> usize {
    let address = lab.exec_ok(CLIENT, &["getent", "ahostsv4", to]).unwrap();
    let address = format!("{}:8080", address.split_whitespace().next().unwrap());
    let mut stream = connect(lab, CLIENT, address.parse().unwrap()).unwrap();
    let mut ask = || {
        write!(stream, "GET / HTTP/1.1\r\nhost: {to}\r\n\r\n").unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"}\n") && !seen.ends_with(b"}\n\r\n0\r\n\r\n") {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&part[..count]);
        }
        let text = String::from_utf8(seen).unwrap();
        let client = text.split("\"client\":\"").nth(1).unwrap_or_else(|| panic!("{text}"));
        client.split('"').next().unwrap().to_owned()
    };
    let first = ask();
    std::thread::sleep(pause);
    if first == ask() { 1 } else { 2 }
}

fn idle(lab: &mut Lab) {
    assert_eq!(with_pause(lab, "plain", Duration::from_millis(1500)), 1);
    apply(lab, &destination_rule("plain", "{connectionPool: {http: {idleTimeout: 500ms}}}"));
    until("an idle connection ends", SOON, || {
        (with_pause(lab, "plain", Duration::from_millis(1500)) == 2).then_some(())
    })
    .unwrap();
    delete(lab, &destination_rule("plain", "{}"));
}

fn upgrade(lab: &mut Lab) {
    let old: &[&str] = &["--http1.1"];
    let new: &[&str] = &["--http2-prior-knowledge"];
    let cases = [
        ("{h2UpgradePolicy: UPGRADE}", old, "HTTP/2.0"),
        ("{useClientProtocol: true}", new, "HTTP/2.0"),
        ("{h2UpgradePolicy: DO_NOT_UPGRADE}", new, "HTTP/1.1"),
        ("{h2UpgradePolicy: DO_NOT_UPGRADE}", old, "HTTP/1.1"),
    ];
    for (http, words, version) in cases {
        apply(lab, &destination_rule("shop", &format!("{{connectionPool: {{http: {http}}}}}")));
        let said = || in_a_row(lab, "shop:8080", 1, words)[0]["http"].clone();
        until(&format!("{http} {words:?}: {version}"), SOON, || (said() == version).then_some(()))
            .unwrap_or_else(|error| panic!("{error:#}, but {}", said()));
    }
    delete(lab, &destination_rule("shop", "{}"));
}

/// Four requests at once over HTTP/2 to an application: how many came over one connection, at most.
fn at_once(lab: &Lab) -> usize {
    in_a_row(lab, "shop:8080", 1, &[]);
    let url = format!("{SHOP}/delay/300");
    let words = [&["curl", "-sS", "-m", "8", "-Z", "--no-progress-meter", "--http1.1"][..], &[&*url; 4]].concat();
    let text = lab.exec_ok(CLIENT, &words).unwrap_or_else(|error| panic!("{error:#}"));
    let said: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.len() == 4 && said.iter().all(|one| one["http"] == "HTTP/2.0"), "{text}");
    let of = |client: &Value| said.iter().filter(|one| one["client"] == *client).count();
    said.iter().map(|one| of(&one["client"])).max().unwrap()
}

fn streams(lab: &mut Lab) {
    for (more, most) in [("", 4), (", maxConcurrentStreams: 2", 2), (", maxConcurrentStreams: 1", 1), ("", 4)] {
        let http = format!("{{connectionPool: {{http: {{h2UpgradePolicy: UPGRADE{more}}}}}}}");
        apply(lab, &destination_rule("shop", &http));
        let upgraded = || (in_a_row(lab, "shop:8080", 1, &[])[0]["http"] == "HTTP/2.0").then_some(());
        until("HTTP/2 is spoken", SOON, upgraded).unwrap();
        let mut last = 0;
        until(&format!("{most} at once{more}"), SOON, || {
            last = at_once(lab);
            (last == most).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}, but {last}"));
    }
    delete(lab, &destination_rule("shop", "{}"));
}

fn keepalive(lab: &mut Lab) {
    let to = format!("dst {}", lab.pod("east/default/lines-1").unwrap().v4);
    let timers = |lab: &Lab| {
        let held = hold(lab, CLIENT, "lines:9000", "1");
        std::thread::sleep(Duration::from_millis(300));
        let shown = lab.exec_ok(CLIENT, &["ss", "-tnoH", "state", "established", &to]).unwrap();
        finish(held);
        shown
    };
    assert!(!timers(lab).contains("timer:(keepalive"), "{}", timers(lab));
    apply(
        lab,
        &destination_rule("lines", "{connectionPool: {tcp: {tcpKeepalive: {time: 50s, interval: 7s, probes: 3}}}}"),
    );
    until("the kernel's timer", SOON, || {
        let shown = timers(lab);
        (shown.contains("timer:(keepalive,4") || shown.contains("timer:(keepalive,50")).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}: {}", timers(lab)));
    delete(lab, &destination_rule("lines", "{}"));
}

fn connect_timeout(lab: &mut Lab) {
    // It hears SYN, and its answer goes nowhere.
    let (client, void) = (lab.pod(CLIENT).unwrap().clone(), lab.pod("east/default/void-1").unwrap().clone());
    let lines = [format!("route add blackhole {}/32", client.v4)];
    run::ip_batch(Some(&void.netns), &lines).unwrap();
    apply(lab, &destination_rule("void", "{connectionPool: {tcp: {connectTimeout: 300ms}}}"));
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    assert!(lab.exec_ok(CLIENT, &["curl", "-sf", "-m", "8", "http://void:8080/"]).is_err());
    assert!(
        began.elapsed() > Duration::from_millis(300) && began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

fn mesh_modes(lab: &mut Lab) {
    let agent = lab.agent_of(CLIENT).unwrap();
    let security = |lab: &Lab| {
        let from = agent.access_log().len();
        assert_eq!(Answer::to(lab, CLIENT, &format!("{SHOP}/modes"), &[]).status, "200");
        logged(&agent, from, |line| line["path"] == "/modes").unwrap()["security"].clone()
    };
    let becomes = |lab: &Lab, wanted: &str| {
        until(wanted, SOON, || (security(lab) == wanted).then_some(()))
            .unwrap_or_else(|error| panic!("{error:#}, but {}", security(lab)));
    };
    apply(lab, &virtual_service("shop", "http: [{route: [{destination: {host: shop}}]}]"));
    becomes(lab, "mutual_tls");
    apply(lab, &destination_rule("shop", "{tls: {mode: DISABLE}}"));
    becomes(lab, "none");
    apply(lab, &destination_rule("shop", "{tls: {mode: ISTIO_MUTUAL}}"));
    becomes(lab, "mutual_tls");
    apply(lab, &destination_rule("plain", "{tls: {mode: ISTIO_MUTUAL}}"));
    until("an endpoint without it is not used", SOON, || {
        lab.exec_ok(CLIENT, &["curl", "-sf", "-m", "8", "http://plain:8080/"]).is_err().then_some(())
    })
    .unwrap();
    delete(lab, &(destination_rule("shop", "") + &destination_rule("plain", "") + &virtual_service("shop", "")));
}

/// Waits until the server's page of TLS comes, or until it does not.
fn page(lab: &Lab, name: &str, what: &str, comes: bool) {
    // Where there is no page there is a reset: nothing asks for requests to be routed there.
    let said = || lab.exec_ok(CLIENT, &["curl", "-sf", "-m", "8", &format!("http://{name}:8443/")]);
    until(what, SOON, || (said().is_ok_and(|page| page.contains("TLSv1.3")) == comes).then_some(()))
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", said()));
}

fn simple(lab: &mut Lab) {
    let ca = lab.record.dir().join("ca.pem").display().to_string();
    let cases = [
        ("sni: secret.example, insecureSkipVerify: true", true),
        ("sni: secret.example", false),
        (&format!("sni: secret.example, caCertificates: {ca}"), true),
        (&format!("sni: other.example, caCertificates: {ca}"), false),
        (&format!("sni: other.example, subjectAltNames: [secret.example], caCertificates: {ca}"), true),
        (&format!("sni: secret.example, subjectAltNames: [third.example], caCertificates: {ca}"), false),
        ("sni: secret.example, credentialName: mine", true),
        ("sni: secret.example, credentialName: nobodys", false),
    ];
    for (fields, comes) in cases {
        apply(lab, &destination_rule("secret", &format!("{{tls: {{mode: SIMPLE, {fields}}}}}")));
        page(lab, "secret", fields, comes);
    }
}

fn mutual(lab: &mut Lab) {
    let file = |name: &str| lab.record.dir().join(name).display().to_string();
    let (ca, chain, key) = (file("ca.pem"), file("client.example.pem"), file("client.example.key"));
    let files = format!("mode: MUTUAL, caCertificates: {ca}, clientCertificate: {chain}, privateKey: {key}");
    let cases = [
        (format!("mode: SIMPLE, caCertificates: {ca}"), false),
        (files, true),
        ("mode: MUTUAL, credentialName: nobodys".to_owned(), false),
        ("mode: MUTUAL, credentialName: mine".to_owned(), true),
    ];
    for (fields, comes) in cases {
        apply(lab, &destination_rule("strict", &format!("{{tls: {{sni: secret.example, {fields}}}}}")));
        page(lab, "strict", &fields, comes);
    }
}

/// The first bytes that the endpoint of that version got of a client's `hello`, in hexadecimal.
fn peeked(lab: &Lab, version: &str) -> String {
    let seen =
        lab.exec_ok(CLIENT, &["bash", "-c", &format!("exec 3<>/dev/tcp/{version}/9000; echo hello >&3; cat <&3")]);
    seen.unwrap_or_default().trim().to_owned()
}

fn proxy_protocol(lab: &mut Lab) {
    let hello = "68656c6c6f0a";
    let v4 = |name: &str| lab.pod(&format!("east/default/{name}")).unwrap().v4;
    let (client, text) = (v4("client"), format!("PROXY TCP4 {} ", v4("client")));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (version, node) in [("v1", "in the mesh"), ("v2", "outside")] {
        let only = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: peek-{version}}}\nspec:\n  selector: {{app: peek, version: {version}}}\n  \
             ports: [{{name: tcp, port: 9000}}]\n"
        );
        apply(lab, &only);
        let host = format!("peek-{version}");
        until(&format!("the pod {node}"), SOON, || (peeked(lab, &host) == hello).then_some(())).unwrap();
        apply(lab, &destination_rule(&host, "{proxyProtocol: {version: V1}}"));
        until(&format!("V1 {node}"), SOON, || {
            let seen = peeked(lab, &host);
            (seen.starts_with(&hex(text.as_bytes())) && seen.ends_with(&(hex(b" 9000\r\n") + hello))).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}: {}", peeked(lab, &host)));
        apply(lab, &destination_rule(&host, "{proxyProtocol: {version: V2}}"));
        // The signature, version 2 with PROXY, TCP over IPv4, 12 bytes, the client's address.
        let header = hex(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c") + &hex(&client.octets());
        until(&format!("V2 {node}"), SOON, || {
            let seen = peeked(lab, &host);
            (seen.starts_with(&header) && seen.len() == 2 * 28 + hello.len() && seen.ends_with(hello)).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}: {}", peeked(lab, &host)));
    }
}

/// A forward proxy of any client to one port and no other, and its Service.
fn proxy(lab: &Lab, name: &str, node: &str) -> String {
    install::need(&[("tinyproxy", "tinyproxy-bin")]).unwrap();
    let config = lab.record.dir().join("tinyproxy.conf").display().to_string();
    std::fs::write(&config, "Port 3128\nConnectPort 9000\n").unwrap();
    let container = running(&["tinyproxy", "-d", "-c", &config]);
    service(name, "tcp", 3128) + &Pod { name: &format!("{name}-1"), app: name, version: "v1", node, container }.text()
}

/// Through a forward proxy, in the mesh and outside.
fn tunnel(lab: &mut Lab) {
    let lines = lab.pod("east/default/lines-1").unwrap().v4;
    for host in ["proxy", "gate"] {
        let to =
            |port: u16| destination_rule(host, &format!("{{tunnel: {{targetHost: {lines}, targetPort: {port}}}}}"));
        apply(lab, &to(9000));
        let through = || {
            let seen = tcp_load(lab, CLIENT, &format!("{host}:3128"), 1);
            seen["by_prefix"]["yes"].is_number().then_some(())
        };
        until(&format!("through {host}"), SOON, through).unwrap();
        apply(lab, &to(9001));
        let why = || {
            tcp_load(lab, CLIENT, &format!("{host}:3128"), 1);
            let lines = lab.agent("east", "e1").unwrap().access_log();
            lines.last().map(|line| line["error"].to_string()).unwrap_or_default()
        };
        let refusal = format!("the proxy answered 403 Forbidden to CONNECT {lines}:9001");
        until(&format!("{host} refuses"), SOON, || why().contains(&refusal).then_some(()))
            .unwrap_or_else(|error| panic!("{error:#}: {}", why()));
        delete(lab, &to(9001));
    }
}

/// What the application says that it was spoken to with.
fn spoken(lab: &Lab, pod: &str, url: &str) -> String {
    Answer::to(lab, pod, url, &["--http1.1"]).says("http")
}

/// A DestinationRule that is seen by what the application is spoken to with.
const UPGRADED: &str = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}";

fn spoken_soon(lab: &Lab, pod: &str, url: &str, version: &str) {
    until(&format!("{pod} {url}: {version}"), SOON, || (spoken(lab, pod, url) == version).then_some(()))
        .unwrap_or_else(|error| panic!("{error:#}"));
}

fn narrower(lab: &mut Lab) {
    let policy = format!("{{portLevelSettings: [{{port: {{number: 8081}}, {UPGRADED}}}]}}");
    apply(lab, &destination_rule("ports", &policy));
    spoken_soon(lab, CLIENT, "http://ports:8081/", "HTTP/2.0");
    assert_eq!(spoken(lab, CLIENT, "http://ports:8080/"), "HTTP/1.1");
    // A subset has its own policy, and its ports theirs.
    let rule = destination_rule("ports", "{}")
        + &format!(
            "  subsets:\n  - {{name: old, labels: {{app: shop}}}}\n  - {{name: new, labels: {{app: shop}}, trafficPolicy: {{{UPGRADED}}}}}\n  \
             - {{name: part, labels: {{app: shop}}, trafficPolicy: {policy}}}\n"
        );
    let to = |path: &str, subset: &str| {
        format!(
            "{{match: [{{uri: {{prefix: /{path}}}}}], route: [{{destination: {{host: ports, subset: {subset}}}}}]}}"
        )
    };
    let rules = [to("old", "old"), to("new", "new"), to("part", "part")].join(", ");
    apply(lab, &(rule.clone() + &virtual_service("ports", &format!("http: [{rules}]"))));
    let cases =
        [("8080/old", "1.1"), ("8080/new", "2.0"), ("8080/part", "1.1"), ("8081/part", "2.0"), ("8081/old", "1.1")];
    for (url, version) in cases {
        spoken_soon(lab, CLIENT, &format!("http://ports:{url}"), &format!("HTTP/{version}"));
    }
    delete(lab, &(rule + &virtual_service("ports", "")));
}

fn whose(lab: &mut Lab) {
    let rule = |more: &str| destination_rule("shop", &format!("{{{UPGRADED}}}")) + more;
    apply(lab, &rule(""));
    for pod in [CLIENT, GUEST] {
        spoken_soon(lab, pod, SHOP, "HTTP/2.0");
    }
    for (more, client, guest) in [
        ("  workloadSelector: {matchLabels: {app: client}}\n", "HTTP/2.0", "HTTP/1.1"),
        ("  exportTo: ['.']\n", "HTTP/2.0", "HTTP/1.1"),
        ("  exportTo: ['*']\n", "HTTP/2.0", "HTTP/2.0"),
    ] {
        apply(lab, &rule(more));
        spoken_soon(lab, CLIENT, SHOP, client);
        spoken_soon(lab, GUEST, SHOP, guest);
    }
    delete(lab, &rule(""));
}

fn retry_budget(lab: &mut Lab) {
    apply(
        lab,
        &virtual_service(
            "shop",
            "http: [{route: [{destination: {host: shop}}], retries: {attempts: 3, retryOn: 5xx}}]",
        ),
    );
    let attempts = |lab: &Lab, path: &str, requests: u64, at_once: u64| {
        let [all, once] = [requests, at_once].map(|number| number.to_string());
        let seen = load(lab, CLIENT, &format!("{SHOP}{path}"), &["--requests", &all, "--concurrency", &once]);
        assert_eq!(number(&seen["statuses"]["503"]), requests, "{seen:#}");
        let shop = at(lab, "east/default/shop-1", 8080).unwrap();
        let text = lab.exec_ok(CLIENT, &["curl", "-s", &format!("http://{shop}/seen")]).unwrap();
        number(&serde_json::from_str::<Value>(&text).unwrap()[path])
    };
    apply(lab, &destination_rule("shop", "{retryBudget: {percent: 100, minRetryConcurrency: 1000}}"));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(attempts(lab, "/status/503/many", 40, 40), 160);
    apply(lab, &destination_rule("shop", "{retryBudget: {percent: 1, minRetryConcurrency: 1}}"));
    std::thread::sleep(Duration::from_millis(400));
    let few = attempts(lab, "/status/503/few", 40, 40);
    assert!((41..120).contains(&few), "{few} attempts for 40 requests");
    // One after the other: half of what is under way is none; half of what was begun lately is enough for all but the first.
    for (interval, path, expected) in [("0s", "/status/503/none", 10), ("60s", "/status/503/lately", 37)] {
        let budget = format!("{{retryBudget: {{percent: 50, minRetryConcurrency: 0, budgetInterval: {interval}}}}}");
        apply(lab, &destination_rule("shop", &budget));
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(attempts(lab, path, 10, 1), expected, "{interval}");
    }
    delete(lab, &(destination_rule("shop", "") + &virtual_service("shop", "")));
}
