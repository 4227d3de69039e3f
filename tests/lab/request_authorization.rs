//! AuthorizationPolicy by everything that a request has: each field and each action, allowed and denied, for pods of one
//! node, through `underpass/1`, through HBONE, and for plaintext from outside.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::io::{Read, Write};
use std::net::TcpStream;

use underpass_tests::{Lab, until};

use crate::authorization_probe::{SERVERS, address, policy, server};
use crate::pair;
use crate::request_scene::{
    ALICE, BOB, OUTSIDER, arrived, asked, by_address, by_service, counted, line, up, waits, with,
};
use crate::scene::{SOON, apply, delete, through};

const DENIED: &str = "RBAC: access denied";

#[test]
fn request_authorization() {
    through(
        up("reqauth", ""),
        &[
            ("methods, paths, hosts, ports, headers: every form", fields),
            ("who asks and what is asked, for every client on every way", ways),
            ("paths are decided about in one spelling", spellings),
            ("what operators see", told),
            ("a kept connection: each request by the policies of now", kept),
            ("AUDIT and dry runs", dry_runs),
            ("gRPC and HTTP/2", second),
            ("what a client forges gains nothing", forged),
            ("what is no HTTP", opaque),
        ],
    );
}

/// `rules` of a policy; a request (path, then words for curl) that it takes, one that it does not.
type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

fn fields(lab: &mut Lab) {
    let cases: &[Case<'_>] = &[
        ("{to: [{operation: {methods: [PUT]}}]}", &["/", "-XPUT"], &["/"]),
        ("{to: [{operation: {notMethods: [PUT]}}]}", &["/"], &["/", "-XPUT"]),
        ("{to: [{operation: {paths: [/a]}}]}", &["/a?q=1"], &["/a/"]),
        ("{to: [{operation: {paths: [/a/*]}}]}", &["/a/b"], &["/a"]),
        ("{to: [{operation: {paths: ['*/z']}}]}", &["/a/z"], &["/z/a"]),
        ("{to: [{operation: {paths: ['/{*}/b']}}]}", &["/x/b"], &["/x/y/b"]),
        ("{to: [{operation: {paths: ['/a/{**}']}}]}", &["/a/b/c"], &["/b/a"]),
        ("{to: [{operation: {notPaths: [/a/*]}}]}", &["/a"], &["/a/b"]),
        ("{to: [{operation: {hosts: [books.example]}}]}", &["/", "-HHost: BOOKS.example"], &["/"]),
        ("{to: [{operation: {hosts: ['*.example']}}]}", &["/", "-HHost: a.example"], &["/", "-HHost: example"]),
        ("{to: [{operation: {notHosts: ['books.*']}}]}", &["/"], &["/", "-HHost: books.example"]),
        ("{to: [{operation: {ports: ['8080'], methods: [PUT]}}]}", &["/", "-XPUT"], &["/"]),
        (
            "{when: [{key: 'request.headers[x-a]', values: [one, 't*']}]}",
            &["/", "-Hx-a: two"],
            &["/", "-Hx-a: three-not"],
        ),
        ("{when: [{key: 'request.headers[X-A]', notValues: ['*']}]}", &["/"], &["/", "-Hx-a: one"]),
        ("{to: [{operation: {methods: [PUT]}}, {operation: {paths: [/either]}}]}", &["/either"], &["/neither"]),
        ("{from: [{source: {principals: ['*/sa/alice']}}], to: [{operation: {paths: [/a]}}]}", &["/a"], &["/b"]),
    ];
    for (rule, taken, left) in cases {
        let left: &[&str] = if rule.contains("'t*'") { &["/", "-Hx-a: other"] } else { left };
        for (action, first, second) in [("ALLOW", 200, 403), ("DENY", 403, 200)] {
            let text = policy("tested", "default", &format!("{{action: {action}, rules: [{rule}]}}"));
            apply(lab, &text);
            for name in ["near", "far"] {
                let url = by_service(lab, ALICE, name);
                waits(lab, ALICE, &url, left, second);
                waits(lab, ALICE, &url, taken, first);
                assert_eq!(asked(lab, ALICE, &url, left).0, second, "{action} {rule}");
            }
        }
    }
    delete(lab, &policy("tested", "default", "{}"));
    waits(lab, ALICE, &by_service(lab, ALICE, "far"), &["/"], 200);
}

fn ways(lab: &mut Lab) {
    let rule = "{from: [{source: {principals: ['*/sa/alice']}}], to: [{operation: {paths: [/alices]}}]}, \
                {from: [{source: {namespaces: [other]}}], to: [{operation: {methods: [POST]}}]}, \
                {to: [{operation: {paths: [/open]}}]}";
    with(lab, &policy("tested", "default", &format!("{{rules: [{rule}]}}")), |lab| {
        for name in SERVERS {
            for client in [ALICE, BOB, OUTSIDER] {
                for url in [by_service(lab, client, name), by_address(lab, name)] {
                    waits(lab, client, &url, &["/wait"], 403);
                    let (status, body) = asked(lab, client, &url, &["/closed"]);
                    assert_eq!((status, body.as_str()), (403, DENIED), "{client} {url}");
                    assert_eq!(asked(lab, client, &url, &["/open"]).0, 200, "{client} {url}");
                    let alice = if client == ALICE { 200 } else { 403 };
                    assert_eq!(asked(lab, client, &url, &["/alices"]).0, alice, "{client} {url}");
                    let bob = if client == BOB { 200 } else { 403 };
                    assert_eq!(asked(lab, client, &url, &["/bobs", "-XPOST"]).0, bob, "{client} {url}");
                }
            }
            assert_eq!(arrived(lab, name, "/closed"), 0, "nothing that is denied reaches {name}");
            assert_eq!((arrived(lab, name, "/open"), arrived(lab, name, "/alices")), (6, 2), "{name}");
        }
    });
}

fn spellings(lab: &mut Lab) {
    let text = policy("tested", "default", "{action: DENY, rules: [{to: [{operation: {paths: [/admin, /admin/*]}}]}]}");
    with(lab, &text, |lab| {
        let url = by_service(lab, OUTSIDER, "far");
        waits(lab, OUTSIDER, &url, &["/admin"], 403);
        for path in ["/%61dmin", "/x/../admin", "/./admin/x", "/x/%2e%2e/admin", "/x\\..\\admin", "/admin?x", "/admin/"]
        {
            assert_eq!(asked(lab, OUTSIDER, &url, &[path]).0, 403, "{path}");
        }
        let absolute = ["/", "--request-target", "http://x/admin"];
        assert_eq!(asked(lab, OUTSIDER, &url, &absolute).0, 403);
        assert_eq!(asked(lab, OUTSIDER, &url, &["/administration"]).0, 200);
    });
}

fn told(lab: &mut Lab) {
    let text = policy(
        "tested",
        "default",
        "{action: DENY, rules: [{to: [{operation: {ports: ['1']}}]}, {to: [{operation: {paths: ['/told*']}}]}]}",
    );
    with(lab, &text, |lab| {
        for name in SERVERS {
            let (url, agent) = (by_service(lab, ALICE, name), lab.agent_of(&server(name)).unwrap());
            waits(lab, ALICE, &url, &["/told"], 403);
            let before = (counted(&agent, name, "403", "DENY"), counted(&agent, name, "200", "-"));
            assert_eq!(asked(lab, ALICE, &url, &["/told/once"]).0, 403);
            assert_eq!(asked(lab, ALICE, &url, &["/fine"]).0, 200);
            let counts = || (counted(&agent, name, "403", "DENY"), counted(&agent, name, "200", "-"));
            let wanted = (before.0 + 1.0, before.1 + 1.0);
            until("one of each is counted", SOON, || (counts() == wanted).then_some(()))
                .unwrap_or_else(|error| panic!("{error:#}: {name} {:?} after {before:?}", counts()));
            let seen = line(lab, name, "/told/once");
            assert_eq!((&seen["status"], &seen["response_flags"]), (&403.into(), &"DENY".into()), "{seen:#}");
            assert_eq!(seen["src.identity"], "spiffe://cluster.local/ns/default/sa/alice", "{seen:#}");
            let error = seen["error"].as_str().unwrap();
            assert!(error.contains("denied by AuthorizationPolicy default/tested rules[1]"), "{seen:#}");
            let fine = line(lab, name, "/fine");
            assert_eq!((&fine["status"], fine["error"].is_null()), (&200.into(), true), "{fine:#}");
        }
    });
}

/// One request on a connection; the status.
fn again(stream: &mut TcpStream, path: &str) -> u16 {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: far\r\n\r\n").as_bytes()).unwrap();
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap();
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap()]).unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn kept(lab: &mut Lab) {
    let deny = |path: &str| {
        policy("tested", "default", &format!("{{action: DENY, rules: [{{to: [{{operation: {{paths: [{path}]}}}}]}}]}}"))
    };
    apply(lab, &deny("/first"));
    for name in SERVERS {
        waits(lab, ALICE, &by_address(lab, name), &["/first"], 403);
    }
    let connect = |name: &&str| pair::connect(lab, ALICE, address(lab, &server(name), 8080)).unwrap();
    let mut all: Vec<_> = SERVERS.iter().map(|name| (*name, connect(name))).collect();
    for (name, stream) in &mut all {
        assert_eq!(
            [again(stream, "/first"), again(stream, "/second"), again(stream, "/first")],
            [403, 200, 403],
            "{name}"
        );
    }
    apply(lab, &deny("/second"));
    for (name, stream) in &mut all {
        until("the change is seen", SOON, || (again(stream, "/second") == 403).then_some(())).unwrap();
        assert_eq!(again(stream, "/first"), 200, "{name}");
    }
    // A policy that decides without requests ends it.
    apply(
        lab,
        &policy("tested", "default", "{action: DENY, rules: [{from: [{source: {principals: ['*/sa/alice']}}]}]}"),
    );
    for (name, stream) in &mut all {
        let (data, _) = pair::drained(stream);
        assert!(data.is_empty(), "{name}");
    }
    delete(lab, &deny("/first"));
    SERVERS.iter().for_each(|name| waits(lab, ALICE, &by_address(lab, name), &["/first"], 200));
}

fn dry_runs(lab: &mut Lab) {
    let dry = |name: &str, spec: &str| {
        policy(name, "default", spec)
            .replace("namespace: default}", "namespace: default, annotations: {istio.io/dry-run: 'true'}}")
    };
    let rule = "rules: [{to: [{operation: {paths: [/noted]}}]}]";
    let text = [
        policy("noted", "default", &format!("{{action: AUDIT, {rule}}}")),
        dry("refusing", &format!("{{action: DENY, {rule}}}")),
        dry("allowing", &format!("{{{rule}}}")),
    ];
    with(lab, &text.concat(), |lab| {
        for name in SERVERS {
            let (url, agent) = (by_service(lab, ALICE, name), lab.agent_of(&server(name)).unwrap());
            let count = |policy: &str, verdict: &str| {
                let labels = [("policy", policy), ("verdict", verdict)];
                agent.metrics().unwrap().sum("underpass_authorization_reports_total", &labels)
            };
            until("it is told of", SOON, || {
                assert_eq!(asked(lab, ALICE, &url, &["/noted"]).0, 200);
                (count("default/noted", "audit") >= 1.0 && count("default/allowing", "dry_run_allow") >= 1.0)
                    .then_some(())
            })
            .unwrap();
            let counts = || {
                [
                    ("noted", "audit"),
                    ("refusing", "dry_run_deny"),
                    ("allowing", "dry_run_allow"),
                    ("allowing", "dry_run_deny"),
                ]
                .map(|(name, verdict)| count(&format!("default/{name}"), verdict))
            };
            let before = counts();
            assert_eq!(asked(lab, ALICE, &url, &["/noted"]).0, 200);
            assert_eq!(asked(lab, ALICE, &url, &["/other"]).0, 200);
            assert_eq!(counts(), before.map(|count| count + 1.0), "{name}");
            let seen = line(lab, name, "/noted");
            let policies = seen["policies"].as_str().unwrap_or_default();
            for word in ["audit AuthorizationPolicy default/noted", "dry_run_deny AuthorizationPolicy default/refusing"]
            {
                assert!(policies.contains(word), "{seen:#}");
            }
            let other = line(lab, name, "/other");
            assert_eq!(other["policies"], "dry_run_deny AuthorizationPolicy default/allowing", "{other:#}");
        }
    });
}

fn second(lab: &mut Lab) {
    let text = policy("tested", "default", "{action: DENY, rules: [{to: [{operation: {paths: [/no]}}]}]}");
    with(lab, &text, |lab| {
        for (client, name) in [(ALICE, "near"), (ALICE, "far"), (ALICE, "tunnelled"), (OUTSIDER, "far")] {
            let url = by_service(lab, client, name);
            waits(lab, client, &url, &["/no"], 403);
            let plain = asked(lab, client, &url, &["/no", "--http2-prior-knowledge"]);
            assert_eq!(plain, (403, DENIED.to_owned()), "{client} {url}");
            let grpc = ["/no", "--http2-prior-knowledge", "-i", "-XPOST", "-Hcontent-type: application/grpc"];
            let (status, head) = asked(lab, client, &url, &grpc);
            assert_eq!(status, 200, "{head}");
            assert!(head.contains("grpc-status: 7") && head.contains(&format!("grpc-message: {DENIED}")), "{head}");
        }
        assert_eq!(arrived(lab, "far", "/no"), 0);
    });
}

fn forged(lab: &mut Lab) {
    let ip = address(lab, ALICE, 1).ip();
    let rule =
        format!("{{from: [{{source: {{remoteIpBlocks: ['{ip}']}}}}], to: [{{operation: {{paths: [/by-ip]}}}}]}}");
    let not =
        format!("{{from: [{{source: {{notRemoteIpBlocks: ['{ip}']}}}}], to: [{{operation: {{paths: [/not-ip]}}}}]}}");
    let when = "{when: [{key: remote.ip, values: [10.255.255.1]}]}, {to: [{operation: {paths: [/seen]}}]}";
    with(lab, &policy("tested", "default", &format!("{{rules: [{rule}, {not}, {when}]}}")), |lab| {
        for name in SERVERS {
            let to = by_address(lab, name);
            waits(lab, ALICE, &to, &["/by-ip"], 200);
            waits(lab, BOB, &to, &["/by-ip"], 403);
            assert_eq!(asked(lab, BOB, &to, &["/not-ip"]).0, 200, "{to}");
            assert_eq!(asked(lab, ALICE, &to, &["/not-ip", "-Hx-forwarded-for: 10.255.255.1"]).0, 403, "{to}");
            let (xff, forwarded) = (format!("-Hx-forwarded-for: {ip}"), format!("-Hforwarded: for={ip}"));
            let lies = [
                "/by-ip",
                &xff,
                &forwarded,
                "-Hx-envoy-external-address: 10.255.255.1",
                "-Hbaggage: k8s.pod.name=alice",
            ];
            for client in [BOB, OUTSIDER] {
                assert_eq!(asked(lab, client, &to, &lies).0, 403, "{client} {to}");
                let lies = ["/x", "-Hx-forwarded-for: 10.255.255.1", "-Hforwarded: for=10.255.255.1"];
                assert_eq!(asked(lab, client, &to, &lies).0, 403, "{client} {to}");
            }
            let lie = ["/seen", "-Hx-forwarded-client-cert: By=x;URI=spiffe://cluster.local/ns/default/sa/alice"];
            let (_, seen) = asked(lab, BOB, &to, &lie);
            assert!(seen.contains("URI=spiffe://cluster.local/ns/other/sa/bob"), "{seen}");
            assert!(!seen.contains("sa/alice"), "{seen}");
            let (_, seen) = asked(lab, OUTSIDER, &to, &lie);
            assert!(!seen.to_lowercase().contains("x-forwarded-client-cert"), "{seen}");
        }
    });
}

fn opaque(lab: &mut Lab) {
    let allow = policy("tested", "default", "{rules: [{to: [{operation: {paths: [/only]}}]}]}");
    with(lab, &allow, |lab| {
        for name in SERVERS {
            waits(lab, ALICE, &by_address(lab, name), &["/x"], 403);
            let to = address(lab, &server(name), 8080);
            for said in ["PING\r\n\r\n", "get /only HTTP/1.1\r\nhost: a\r\n\r\n", "GET /only\r\n\r\n"] {
                let (data, end) = pair::ask(lab, ALICE, to, said.as_bytes()).unwrap();
                assert!(data.is_empty() && end.is_err(), "{name} {said:?}: {data:?} {end:?}");
            }
        }
    });
}
