//! RequestAuthentication: where tokens stand, who issued them, what becomes of them, keys that are fetched.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::sync::OnceLock;

use serde_json::{Value, json};
use underpass_tests::{Lab, until};

use crate::authorization_probe::{SERVERS, policy, server};
use crate::request_scene::{
    ALICE, BOB, OUTSIDER, arrived, asked, by_address, by_service, counted, line, up, waits, with,
};
use crate::scene::{Pod, SOON, apply, delete, running, service, through};
use crate::token::{Issuer, now};

/// Answers with what is in a file; without one it says nothing.
const KEYS: &str = "use IO::Socket::INET; $| = 1; $f = shift; \
    $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 99, ReuseAddr => 1) or die; \
    while ($c = $s->accept) { while (<$c>) { last if /^\\r?$/ } \
    if (open F, $f) { local $/; $b = <F>; close F; $n = length $b; print qq(asked for keys\\n); \
    print $c qq(HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: $n\\r\\n\\r\\n$b) } close $c }";

fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| Issuer::new("one"))
}

fn file() -> String {
    format!("/tmp/underpass-test-jwks-{}", std::process::id())
}

#[test]
fn request_authentication() {
    let keys = Pod {
        name: "keys",
        app: "keys",
        version: "v1",
        node: "u2",
        container: running(&["perl", "-e", KEYS, &file()]),
    };
    through(
        up("reqtoken", &(keys.text() + &service("keys", "http", 8080))),
        &[
            ("a token that is wrong is refused, none is not, for every client on every way", ways),
            ("what is wrong with a token is said", wrong),
            ("where tokens stand", places),
            ("what the application gets", outputs),
            ("policies look at tokens", policies),
            ("selector, targetRefs, mesh; one that cannot be read", scopes),
            ("keys by URL: fetched, rotated, away", fetched),
        ],
    );
    let _ = std::fs::remove_file(file());
}

/// A RequestAuthentication with one rule more than its issuer and keys; `aim` is its selector or nothing.
fn tokens(aim: &str, more: &str) -> String {
    let rule = format!("{{issuer: iss.example, jwks: '{}'{more}}}", issuer().jwks());
    object("default", &format!("{{{aim}jwtRules: [{rule}]}}"))
}

fn object(namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
         metadata: {{name: tokens, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn bearer(claims: &Value) -> String {
    format!("-Hauthorization: Bearer {}", issuer().token(claims))
}

fn ways(lab: &mut Lab) {
    with(lab, &tokens("", ""), |lab| {
        let (good, bad) = (bearer(&json!({ "sub": "ann" })), "-Hauthorization: Bearer a.b.c");
        for name in SERVERS {
            let agent = lab.agent_of(&server(name)).unwrap();
            for client in [ALICE, BOB, OUTSIDER] {
                for url in [by_service(lab, client, name), by_address(lab, name)] {
                    waits(lab, client, &url, &["/wait", bad], 401);
                    assert_eq!(asked(lab, client, &url, &["/bad", bad]).0, 401, "{client} {url}");
                    assert_eq!(asked(lab, client, &url, &["/good", &good]).0, 200, "{client} {url}");
                    assert_eq!(asked(lab, client, &url, &["/none"]).0, 200, "{client} {url}");
                }
            }
            assert_eq!(
                (arrived(lab, name, "/bad"), arrived(lab, name, "/good"), arrived(lab, name, "/none")),
                (0, 6, 6)
            );
            let seen = line(lab, name, "/bad");
            assert_eq!((&seen["status"], &seen["response_flags"]), (&401.into(), &"UAEX".into()), "{seen:#}");
            assert!(seen["error"].as_str().unwrap().contains("RequestAuthentication default/tokens"), "{seen:#}");
            assert!(counted(&agent, name, "401", "UAEX") >= 6.0, "{name}");
        }
    });
}

fn wrong(lab: &mut Lab) {
    let other = Issuer::new("one");
    with(lab, &tokens("", ", audiences: [books]"), |lab| {
        let url = by_service(lab, ALICE, "far");
        let with = |claims: Value| {
            let mut all = json!({ "sub": "ann", "aud": "books" });
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            all
        };
        let stranger = Issuer::new("other").token(&with(json!({})));
        waits(lab, ALICE, &url, &["/x", "-Hauthorization: Bearer a.b.c"], 401);
        for (token, status, text) in [
            (issuer().token(&with(json!({}))), 200, ""),
            (issuer().token(&with(json!({ "aud": ["a", "books"] }))), 200, ""),
            (issuer().token(&with(json!({ "aud": "shoes" }))), 403, "Audiences in Jwt are not allowed"),
            (issuer().token(&with(json!({ "exp": now() - 100 }))), 401, "Jwt is expired"),
            (issuer().token(&with(json!({ "nbf": now() + 300 }))), 401, "Jwt not yet valid"),
            (issuer().token(&with(json!({ "iss": "nobody" }))), 401, "Jwt issuer is not configured"),
            (other.token(&with(json!({}))), 401, "Jwt verification fails"),
            (stranger, 401, "Jwks doesn't have key to match kid or alg from Jwt"),
            ("a.b".to_owned(), 401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ] {
            let token = format!("-Hauthorization: Bearer {token}");
            let (seen, body) = asked(lab, ALICE, &url, &["/wrong", &token]);
            assert_eq!(seen, status, "{body}");
            assert!(status == 200 || body == text, "{body}, wanted {text}");
            if status == 401 {
                let (_, head) = asked(lab, ALICE, &url, &["/wrong", &token, "-i"]);
                assert!(
                    head.contains("www-authenticate: Bearer realm=\"http://far:8080/wrong\", error=\"invalid_token\""),
                    "{head}"
                );
            }
        }
        assert_eq!(arrived(lab, "far", "/wrong"), 2);
        let grpc = [
            "/g",
            "--http2-prior-knowledge",
            "-i",
            "-XPOST",
            "-Hcontent-type: application/grpc",
            "-Hauthorization: Bearer a.b.c",
        ];
        let (status, head) = asked(lab, ALICE, &url, &grpc);
        assert!(status == 200 && head.contains("grpc-status: 16"), "{head}");
    });
}

fn places(lab: &mut Lab) {
    let token = issuer().token(&json!({ "sub": "ann" }));
    let more =
        ", fromHeaders: [{name: x-jwt, prefix: 'Token '}, {name: x-bare}], fromParams: [tok], fromCookies: [session]";
    let only = policy("named", "default", "{rules: [{from: [{source: {requestPrincipals: ['iss.example/ann']}}]}]}");
    with(lab, &(tokens("", more) + &only), |lab| {
        let url = by_service(lab, ALICE, "far");
        waits(lab, ALICE, &url, &["/"], 403);
        let (param, bad) = (format!("/p?a=1&tok={token}"), "/p?tok=a.b.c");
        waits(lab, ALICE, &url, &[&param], 200);
        for (words, status) in [
            (vec![param.clone()], 200),
            (vec![bad.to_owned()], 401),
            (vec!["/".to_owned(), format!("-Hx-jwt: Token {token}")], 200),
            (vec!["/".to_owned(), format!("-Hx-jwt: {token}")], 403),
            (vec!["/".to_owned(), format!("-Hx-bare: {token}")], 200),
            (vec!["/".to_owned(), format!("-Hcookie: a=b; session={token}")], 200),
            (vec!["/".to_owned(), format!("-Hcookie: other={token}")], 403),
            // Where places are said, the usual ones are none.
            (vec!["/".to_owned(), format!("-Hauthorization: Bearer {token}")], 403),
        ] {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (seen, body) = asked(lab, ALICE, &url, &words);
            assert_eq!(seen, status, "{words:?}: {body}");
            assert!(status != 200 || !body.contains(&token), "the application gets the token: {body}");
        }
    });
    with(lab, &(tokens("", "") + &only), |lab| {
        let url = by_service(lab, ALICE, "far");
        waits(lab, ALICE, &url, &["/"], 403);
        assert_eq!(asked(lab, ALICE, &url, &[&format!("/?access_token={token}")]).0, 200);
    });
}

fn outputs(lab: &mut Lab) {
    let more = ", forwardOriginalToken: true, outputPayloadToHeader: x-payload, \
                outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-team, claim: org.team}]";
    with(lab, &tokens("", more), |lab| {
        let url = by_service(lab, ALICE, "far");
        let token = issuer().token(&json!({ "sub": "ann", "org": { "team": "red" } }));
        let bearer = format!("-Hauthorization: Bearer {token}");
        waits(lab, ALICE, &url, &["/", "-Hauthorization: Bearer a.b.c"], 401);
        let (_, head) = asked(lab, ALICE, &url, &["/", &bearer, "-Hx-sub: root", "-Hx-team: root"]);
        let payload = token.split('.').nth(1).unwrap();
        for wanted in ["x-sub: ann", "x-team: red", &format!("x-payload: {payload}"), &format!("Bearer {token}")] {
            assert!(head.contains(wanted), "{wanted}: {head}");
        }
        assert!(!head.contains("root"), "{head}");
        let (status, head) = asked(lab, ALICE, &url, &["/", "-Hx-sub: root", "-Hx-payload: forged"]);
        assert!(status == 200 && !head.contains("root") && !head.contains("forged"), "{head}");
    });
    let only = "{rules: [{when: [{key: 'request.headers[x-sub]', values: [ann]}]}]}";
    with(lab, &(tokens("", more) + &policy("named", "default", only)), |lab| {
        for name in ["near", "far"] {
            let url = by_service(lab, ALICE, name);
            waits(lab, ALICE, &url, &["/"], 403);
            assert_eq!(asked(lab, ALICE, &url, &["/", "-Hx-sub: ann"]).0, 403, "policies see no forged claim: {name}");
            assert_eq!(asked(lab, ALICE, &url, &["/", &bearer(&json!({ "sub": "ann" }))]).0, 200, "{name}");
        }
    });
}

fn policies(lab: &mut Lab) {
    let ann =
        bearer(&json!({ "sub": "ann", "aud": ["shop"], "azp": "app", "groups": ["a", "b"], "org": { "team": "red" } }));
    let bob = bearer(&json!({ "sub": "bob", "scope": "read write", "rights": "buy sell" }));
    let spaced = ", spaceDelimitedClaims: [rights]";
    for (rule, ann_gets, bob_gets, none_gets) in [
        ("from: [{source: {requestPrincipals: ['iss.example/*']}}]", 200, 200, 403),
        ("from: [{source: {requestPrincipals: ['*/ann']}}]", 200, 403, 403),
        ("from: [{source: {notRequestPrincipals: ['*']}}]", 403, 403, 200),
        ("when: [{key: request.auth.principal, values: [iss.example/bob]}]", 403, 200, 403),
        ("when: [{key: request.auth.audiences, values: [shop]}]", 200, 403, 403),
        ("when: [{key: request.auth.presenter, values: [app]}]", 200, 403, 403),
        ("when: [{key: 'request.auth.claims[groups]', values: [b]}]", 200, 403, 403),
        ("when: [{key: 'request.auth.claims[org][team]', values: [red]}]", 200, 403, 403),
        ("when: [{key: 'request.auth.claims[scope]', values: [write]}]", 403, 200, 403),
        ("when: [{key: 'request.auth.claims[rights]', values: [sell]}]", 403, 200, 403),
        ("when: [{key: 'request.auth.claims[sub]', notValues: [ann]}]", 403, 200, 200),
    ] {
        let text = tokens("", spaced) + &policy("named", "default", &format!("{{rules: [{{{rule}}}]}}"));
        apply(lab, &text);
        for name in ["near", "far"] {
            let url = by_service(lab, ALICE, name);
            for (words, wanted) in [(vec!["/", &ann], ann_gets), (vec!["/", &bob], bob_gets), (vec!["/"], none_gets)] {
                waits(lab, ALICE, &url, &words, wanted);
            }
            waits(lab, ALICE, &url, &["/", "-Hauthorization: Bearer a.b.c"], 401);
            assert_eq!(asked(lab, ALICE, &url, &["/", &ann]).0, ann_gets, "{rule}");
        }
    }
    delete(lab, &(tokens("", "") + &policy("named", "default", "{}")));
    waits(lab, ALICE, &by_service(lab, ALICE, "far"), &["/"], 200);
}

fn scopes(lab: &mut Lab) {
    let bad = ["/", "-Hauthorization: Bearer a.b.c"];
    let rule = format!("jwtRules: [{{issuer: iss.example, jwks: '{}'}}]", issuer().jwks());
    for (text, wanted) in [
        (tokens("selector: {matchLabels: {app: far}}, ", ""), [200, 401, 200]),
        (tokens("targetRefs: [{kind: Service, group: '', name: near}], ", ""), [401, 200, 200]),
        (object("istio-system", &format!("{{{rule}}}")), [401, 401, 401]),
        (
            object("istio-system", &format!("{{selector: {{matchLabels: {{app: tunnelled}}}}, {rule}}}")),
            [200, 200, 401],
        ),
    ] {
        with(lab, &text, |lab| {
            for (name, status) in SERVERS.iter().zip(wanted) {
                waits(lab, ALICE, &by_service(lab, ALICE, name), &bad, status);
            }
        });
    }
    let text = object("default", "{selector: {matchLabels: {app: far}}, jwtRules: [{issuer: 7, jwks: x}]}");
    crate::scene::apply_to(lab, "east", &text);
    waits(lab, ALICE, &by_service(lab, ALICE, "far"), &["/"], 401);
    assert_eq!(asked(lab, ALICE, &by_service(lab, ALICE, "near"), &["/"]).0, 200);
    delete(lab, &text);
    waits(lab, ALICE, &by_service(lab, ALICE, "far"), &["/"], 200);
}

fn fetched(lab: &mut Lab) {
    let url = by_service(lab, ALICE, "far");
    let rule =
        "jwtRules: [{issuer: iss.example, jwksUri: 'http://keys.default.svc.cluster.local:8080/jwks', timeout: 1s}]";
    let text = object("default", &format!("{{selector: {{matchLabels: {{app: far}}}}, {rule}}}"));
    let (first, second) = (Issuer::new("first"), Issuer::new("second"));
    let bearer = |issuer: &Issuer| format!("-Hauthorization: Bearer {}", issuer.token(&json!({ "sub": "ann" })));
    apply(lab, &text);
    // Nobody says which keys there are.
    let away = "Jwks remote fetch is failed";
    until("a refusal", SOON, || (asked(lab, ALICE, &url, &["/", &bearer(&first)]) == (401, away.into())).then_some(()))
        .unwrap();
    assert_eq!(asked(lab, ALICE, &url, &["/"]).0, 200, "no token, no refusal");
    std::fs::write(file(), first.jwks()).unwrap();
    waits(lab, ALICE, &url, &["/", &bearer(&first)], 200);
    assert_eq!(asked(lab, ALICE, &url, &["/", &bearer(&second)]).0, 401);
    std::fs::write(file(), second.jwks()).unwrap();
    waits(lab, ALICE, &url, &["/", &bearer(&second)], 200);
    assert_eq!(asked(lab, ALICE, &url, &["/", &bearer(&first)]).0, 401, "it is no key any more");
    std::fs::remove_file(file()).unwrap();
    assert_eq!(
        asked(lab, ALICE, &url, &["/", &bearer(&second)]).0,
        200,
        "what is known is used while the source is away"
    );
    delete(lab, &text);
    waits(lab, ALICE, &url, &["/", "-Hauthorization: Bearer a.b.c"], 200);
}
