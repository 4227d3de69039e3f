//! What DestinationRules and Services say of endpoints and connections, on the wire.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use underpass_tests::{Lab, until};

use crate::http_case::Answer;
use crate::scene::{
    Pod, SOON, answering, apply, assert_answered, client, delete, destination_rule, finish, hold, http, lab, load,
    number, reachable, service, tcp, tcp_load, through,
};

const CLIENT: &str = "east/default/client";
const SHOP: &str = "http://shop:8080";

/// Says a line before it is asked for one, as MySQL, SMTP and SSH do.
const BANNER: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 3306, Listen => 9, ReuseAddr => 1) \
                      or die; while ($c = $s->accept) { print $c qq(hello\\n); close $c }";

#[test]
fn destination_fields() {
    let mut lab = lab("lbdest", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    let pod = |name, app, version, node, container| Pod { name, app, version, node, container }.text();
    let perl = |code: &str| format!("{{name: main, image: perl, command: [perl, '-e', {}]}}", serde_json::json!(code));
    let tls = |name: &str| {
        let make = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -addext \
             subjectAltName=DNS:{name} -keyout /tmp/$POD_NAME.key -out /tmp/$POD_NAME.pem 2>/dev/null; exec openssl \
             s_server -quiet -www -accept 8443 -cert /tmp/$POD_NAME.pem -key /tmp/$POD_NAME.key"
        );
        format!("{{name: main, image: openssl, command: [sh, '-c', {}]}}", serde_json::json!(make))
    };
    let outside = |text: String, app: &str| {
        text.replace(&format!("{{app: {app},"), &format!("{{istio.io/dataplane-mode: none, app: {app},"))
    };
    let bare = |name: &str, port: u16| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  \
             ports: [{{port: {port}}}]\n"
        )
    };
    let scene = [
        client("client", "e1") + &service("shop", "http", 8080) + &service("lines", "tcp", 9000),
        pod("shop-1", "shop", "v1", "e1", http(8080)) + &pod("shop-2", "shop", "v2", "e2", http(8080)),
        pod("shop-3", "shop", "v3", "e2", http(8080)) + &pod("lines", "lines", "v1", "e2", tcp(9000, "yes")),
        bare("banner", 3306) + &pod("banner", "banner", "v1", "e2", perl(BANNER)),
        bare("plain", 8080) + &pod("plain", "plain", "v1", "e2", http(8080)),
        service("secret", "http", 8443)
            + &outside(pod("secret", "secret", "v1", "e2", tls("secret.example")), "secret"),
        service("vault", "tls", 8443) + &pod("vault-a", "vault", "a", "e2", tls("a.example")),
        pod("vault-b", "vault", "b", "e2", tls("b.example")),
    ];
    apply(&mut lab, &scene.concat());
    answering(&lab, CLIENT, SHOP);
    reachable(&lab, CLIENT, "lines:9000");
    through(
        lab,
        &[
            ("loadBalancer.simple: ROUND_ROBIN", round_robin),
            ("loadBalancer.consistentHash: a header, a cookie", consistent_hash),
            ("connectionPool.http: more requests than allowed get 503", too_many_requests),
            ("connectionPool.tcp: more connections than allowed are refused", too_many_connections),
            ("connectionPool.tcp.maxConnectionDuration", duration),
            ("a server that speaks first is not waited for", server_first),
            ("requests to a port that declares nothing are routed", undeclared),
            ("tls.mode: SIMPLE", originated),
            ("tls rules: by server name", by_name),
        ],
    );
}

/// The versions that answered so many requests, in order.
fn versions(lab: &Lab, count: usize, more: &[&str]) -> Vec<String> {
    (0..count).map(|_| Answer::to(lab, CLIENT, SHOP, more).says("version")).collect()
}

fn round_robin(lab: &mut Lab) {
    apply(lab, &destination_rule("shop", "{loadBalancer: {simple: ROUND_ROBIN}}"));
    let in_turn = || {
        let seen = versions(lab, 6, &[]);
        let different = seen.windows(3).all(|three| three.iter().collect::<BTreeSet<_>>().len() == 3);
        different.then_some(())
    };
    until("each three requests go to three endpoints", SOON, in_turn).unwrap();
}

fn consistent_hash(lab: &mut Lab) {
    for table in ["", ", maglev: {}"] {
        apply(
            lab,
            &destination_rule(
                "shop",
                &format!("{{loadBalancer: {{consistentHash: {{httpHeaderName: user{table}}}}}}}"),
            ),
        );
        let user = |n: usize| format!("user: {n}");
        let settled = || {
            let seen: BTreeSet<_> = versions(lab, 8, &["-H", &user(1)]).into_iter().collect();
            (seen.len() == 1).then_some(())
        };
        until("one user stays at one endpoint", SOON, settled).unwrap();
        let all: BTreeSet<_> = (0..20).flat_map(|n| versions(lab, 1, &["-H", &user(n)])).collect();
        assert_eq!(all.len(), 3, "users are spread: {all:?}");
    }
    let cookie = "{loadBalancer: {consistentHash: {httpCookie: {name: stay, ttl: 60s}}}}";
    apply(lab, &destination_rule("shop", cookie));
    until("a cookie is made", SOON, || {
        let first = Answer::to(lab, CLIENT, SHOP, &[]);
        let made = first.says("<set-cookie");
        let value = made.split(';').next().filter(|value| value.starts_with("stay="))?.to_owned();
        let seen = versions(lab, 5, &["-H", &format!("cookie: {value}")]);
        assert!(seen.iter().all(|version| *version == first.says("version")), "{seen:?}");
        Some(())
    })
    .unwrap();
}

fn too_many_requests(lab: &mut Lab) {
    apply(lab, &destination_rule("shop", "{connectionPool: {http: {http2MaxRequests: 2}}}"));
    let url = format!("{SHOP}/delay/300");
    let words = ["--requests", "20", "--concurrency", "10", "--new-connection", "true"];
    let some = || {
        let seen = load(lab, CLIENT, &url, &words);
        let of = |status: &str| number(&seen["statuses"][status]);
        (of("503") > 0 && of("200") >= 2).then(|| assert_eq!(of("503") + of("200"), 20, "{seen:#}"))
    };
    until("what is too much is answered with 503", SOON, some).unwrap();
    delete(lab, &destination_rule("shop", "{}"));
    until("without the rule all are answered", SOON, || {
        (number(&load(lab, CLIENT, &url, &words)["statuses"]["200"]) == 20).then_some(())
    })
    .unwrap();
}

fn too_many_connections(lab: &mut Lab) {
    apply(lab, &destination_rule("lines", "{connectionPool: {tcp: {maxConnections: 1}}}"));
    std::thread::sleep(Duration::from_millis(500));
    let held = hold(lab, CLIENT, "lines:9000", "2");
    let refused = tcp_load(lab, CLIENT, "lines:9000", 5);
    assert_eq!(number(&refused["failed"]), 5, "{refused:#}");
    finish(held);
    reachable(lab, CLIENT, "lines:9000");
}

fn duration(lab: &mut Lab) {
    apply(lab, &destination_rule("lines", "{connectionPool: {tcp: {maxConnectionDuration: 1s}}}"));
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    let seen = finish(hold(lab, CLIENT, "lines:9000", "6"));
    assert!(began.elapsed() < Duration::from_secs(4) && !seen["error"].is_null(), "{:?} {seen:#}", began.elapsed());
    delete(lab, &destination_rule("lines", "{}"));
}

fn server_first(lab: &mut Lab) {
    let ask = "use IO::Socket::INET; $c = IO::Socket::INET->new('banner:3306') or die; print scalar <$c>";
    let said = || lab.exec_ok(CLIENT, &["perl", "-e", ask]).ok().filter(|said| said.trim() == "hello");
    until("the server speaks", SOON, said).unwrap();
    let began = Instant::now();
    assert!(said().is_some() && began.elapsed() < Duration::from_millis(700), "after {:?}", began.elapsed());
}

fn undeclared(lab: &mut Lab) {
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: plain}\nspec:\n  hosts: [plain]\n  \
                 http:\n  - match: [{uri: {prefix: /tea}}]\n    directResponse: {status: 418}\n  \
                 - route: [{destination: {host: plain}}]\n";
    apply(lab, route);
    until("the rule answers", SOON, || {
        (Answer::to(lab, CLIENT, "http://plain:8080/tea", &[]).status == "418").then_some(())
    })
    .unwrap();
    assert_answered(&load(lab, CLIENT, "http://plain:8080/", &["--requests", "20"]), 20);
    assert_answered(&load(lab, CLIENT, "http://plain:8080/", &["--requests", "20", "--h2", "true"]), 20);
}

fn originated(lab: &mut Lab) {
    apply(lab, &destination_rule("secret", "{tls: {mode: SIMPLE, sni: secret.example, insecureSkipVerify: true}}"));
    let said = |lab: &Lab| {
        let output = lab.exec(CLIENT, &["curl", "-s", "-m", "5", "http://secret:8443/"]).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    until("the server's page of TLS", SOON, || said(lab).contains("TLSv1.3").then_some(())).unwrap();
    // Nobody vouches for that certificate.
    apply(lab, &destination_rule("secret", "{tls: {mode: SIMPLE, sni: secret.example}}"));
    until("a stranger's certificate is refused", SOON, || (!said(lab).contains("TLSv1.3")).then_some(())).unwrap();
}

fn by_name(lab: &mut Lab) {
    let rules = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: vault}\nspec:\n  host: vault\n  \
                 subsets: [{name: a, labels: {version: a}}, {name: b, labels: {version: b}}]\n\
                 ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vault}\nspec:\n  hosts: [vault, '*.example']\n  \
                 tls:\n  - match: [{sniHosts: [a.example]}]\n    route: [{destination: {host: vault, subset: a}}]\n  \
                 - match: [{sniHosts: [b.example]}]\n    route: [{destination: {host: vault, subset: b}}]\n";
    apply(lab, rules);
    let shown = |name: &str| {
        let ask = format!(
            "openssl s_client -connect vault:8443 -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -subject"
        );
        lab.exec_ok(CLIENT, &["sh", "-c", &ask]).unwrap_or_default()
    };
    for name in ["a.example", "b.example"] {
        let always = || (0..4).all(|_| shown(name).contains(name)).then_some(());
        until(&format!("{name} shows its certificate"), SOON, always).unwrap();
    }
}
