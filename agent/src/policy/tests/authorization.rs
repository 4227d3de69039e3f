//! AuthorizationPolicies: the order of actions, and what is left open before a byte was read.

use super::*;
use crate::model::authorization_policy::*;
use crate::model::{AuthorizationPolicy, Origin};
use crate::snapshot::fixtures::{labels, object_id, pod, put};
use http::HeaderMap;

fn policy(id: &str, action: Action, rules: Vec<AuthorizationRule>) -> AuthorizationPolicy {
    AuthorizationPolicy {
        id: object_id(id),
        origin: Origin(id.into()),
        everywhere: false,
        selection: Selection::All,
        action,
        dry_run: false,
        stand_in: false,
        rules,
    }
}

fn test(attribute: Attribute, texts: &[&str]) -> AttributeTest {
    let values = Values::Texts(texts.iter().map(|text| Pattern::new(text)).collect());
    AttributeTest { attribute, negated: false, values }
}

fn rule(tests: Vec<AttributeTest>) -> AuthorizationRule {
    AuthorizationRule { when: tests, ..AuthorizationRule::default() }
}

fn till() -> Peer {
    Peer::Verified("spiffe://cluster.local/ns/shop/sa/till".parse().unwrap())
}

/// What is said of a connection at once, of one without HTTP, and of requests `GET /a` and `POST /b`.
fn said(policies: Vec<AuthorizationPolicy>, peer: &Peer) -> [String; 4] {
    let world = World::new(
        policies.into_iter().map(put).chain([put(pod("shop/books", "10.0.0.1", &[("app", "books")]))]).collect(),
    );
    let table = &world.snapshot.policies;
    let books = pod("shop/books", "10.0.0.1", &[("app", "books")]);
    let connection = Connection::new(peer, "10.9.9.9".parse().unwrap(), "10.0.0.1:8080".parse().unwrap());
    let headers = HeaderMap::new();
    let request = |method, path| {
        let request =
            Request { method, path, authority: "books", headers: &headers, remote: connection.source, token: None };
        shown(authorize_request(table, &books, (&connection, &request), Asked::No))
    };
    [
        shown(authorize_inbound(table, &books, &connection)),
        shown(authorize_opaque(table, &books, &connection, Asked::No)),
        request("GET", "/a"),
        request("POST", "/b"),
    ]
}

fn shown(decision: Decision) -> String {
    let reports: Vec<String> =
        decision.reports.iter().map(|one| format!("{} {}", one.told.as_str(), one.policy)).collect();
    let verdict = match decision.verdict {
        Verdict::Allowed { by, .. } => by.map_or("free".to_owned(), |by| format!("allowed by {by}")),
        Verdict::Denied(denied) => format!("denied by {}", denied.rule),
        Verdict::Ask(providers) => format!("ask {}", providers.join(" ")),
        Verdict::Undecided => "undecided".to_owned(),
    };
    let whole = [vec![verdict], reports].concat().join(", ");
    whole.replace("AuthorizationPolicy ", "")
}

fn get() -> AuthorizationRule {
    rule(vec![test(Attribute::Method, &["GET"])])
}

fn from_till() -> AuthorizationRule {
    rule(vec![test(Attribute::Principal, &["cluster.local/ns/shop/sa/till"])])
}

#[test]
fn deny_comes_before_allow_and_what_no_allow_policy_allows_is_denied() {
    let allow = || policy("shop/allow", Action::Allow, vec![from_till()]);
    let deny = || policy("shop/deny", Action::Deny, vec![from_till()]);
    for (policies, peer, expected) in [
        (vec![], Peer::Anonymous, "free"),
        (vec![allow()], till(), "allowed by shop/allow rules[0]"),
        (vec![allow()], Peer::Anonymous, "denied by shop/allow"),
        (vec![deny()], Peer::Anonymous, "free"),
        (vec![deny(), allow()], till(), "denied by shop/deny rules[0]"),
        (vec![policy("shop/none", Action::Allow, vec![])], till(), "denied by shop/none"),
        (vec![policy("shop/none", Action::Deny, vec![])], till(), "free"),
        (vec![policy("shop/all", Action::Deny, vec![rule(vec![])])], till(), "denied by shop/all rules[0]"),
    ] {
        assert_eq!(said(policies.clone(), &peer), [expected; 4], "{policies:#?}");
    }
}

#[test]
fn a_rule_that_needs_http_waits_for_it_and_without_it_allows_nothing_and_denies() {
    let custom = || Action::Custom("ext".into());
    for (policies, expected) in [
        (
            vec![policy("shop/a", Action::Allow, vec![get()])],
            ["undecided", "denied by shop/a", "allowed by shop/a rules[0]", "denied by shop/a"],
        ),
        (
            vec![policy("shop/d", Action::Deny, vec![get()])],
            ["undecided", "denied by shop/d rules[0]", "denied by shop/d rules[0]", "free"],
        ),
        (
            vec![policy("shop/a", Action::Allow, vec![get(), from_till()])],
            [
                "allowed by shop/a rules[1]",
                "allowed by shop/a rules[1]",
                "allowed by shop/a rules[0]",
                "allowed by shop/a rules[1]",
            ],
        ),
        (vec![policy("shop/c", custom(), vec![get()])], ["undecided", "ask ext", "ask ext", "free"]),
        (vec![policy("shop/c", custom(), vec![rule(vec![])])], ["undecided", "ask ext", "ask ext", "ask ext"]),
        (
            vec![policy("shop/l", Action::Audit, vec![get()])],
            ["undecided", "free, audit shop/l", "free, audit shop/l", "free"],
        ),
        (
            vec![policy("shop/d", Action::Deny, vec![from_till()]), policy("shop/l", Action::Audit, vec![get()])],
            [
                "denied by shop/d rules[0]",
                "denied by shop/d rules[0], audit shop/l",
                "denied by shop/d rules[0], audit shop/l",
                "denied by shop/d rules[0]",
            ],
        ),
    ] {
        assert_eq!(said(policies.clone(), &till()), expected, "{policies:#?}");
    }
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let dry = |action, rules| AuthorizationPolicy { dry_run: true, ..policy("shop/dry", action, rules) };
    let other = || rule(vec![test(Attribute::Namespace, &["bank"])]);
    for (policies, expected) in [
        (vec![dry(Action::Deny, vec![from_till()])], "free, dry_run_deny shop/dry"),
        (vec![dry(Action::Deny, vec![other()])], "free"),
        (vec![dry(Action::Allow, vec![from_till()])], "free, dry_run_allow shop/dry"),
        (vec![dry(Action::Allow, vec![other()])], "free, dry_run_deny shop/dry"),
        (
            vec![dry(Action::Allow, vec![other()]), policy("shop/real", Action::Allow, vec![from_till()])],
            "allowed by shop/real rules[0]",
        ),
    ] {
        assert_eq!(said(policies.clone(), &till()), [expected; 4], "{policies:#?}");
    }
}

#[test]
fn a_policy_is_for_what_it_selects() {
    let deny = || policy("shop/deny", Action::Deny, vec![rule(vec![])]);
    let selecting =
        |pairs: &[(&str, &str)]| AuthorizationPolicy { selection: Selection::Labels(labels(pairs)), ..deny() };
    let root =
        |selection| AuthorizationPolicy { id: object_id("istio-system/deny"), everywhere: true, selection, ..deny() };
    let elsewhere = AuthorizationPolicy { id: object_id("bank/deny"), ..deny() };
    for (policy, denies) in [
        (deny(), true),
        (selecting(&[("app", "books")]), true),
        (selecting(&[("app", "till")]), false),
        (selecting(&[("app", "books"), ("version", "v1")]), false),
        (elsewhere, false),
        (root(Selection::All), true),
        (root(Selection::Labels(labels(&[("app", "books")]))), true),
        (root(Selection::Labels(labels(&[("app", "till")]))), false),
        (root(Selection::Nothing), false),
    ] {
        assert_eq!(said(vec![policy.clone()], &till())[0].starts_with("denied"), denies, "{policy:#?}");
    }
}
