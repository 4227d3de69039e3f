//! AuthorizationPolicies against a plain reading of Istio's reference, which shares nothing with what is tested: it
//! looks at the manifests themselves, field by field, for each connection and request again.

use super::{Dir, authorizations};
use crate::policy::{Asked, Connection, Peer, Request, Token, Verdict};
use crate::policy::{authorize_opaque, authorize_request};
use crate::snapshot::fixtures::{World, pod, put};
use http::HeaderMap;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// A connection, and the request on it where it speaks HTTP.
#[derive(Clone, Debug)]
struct Traffic {
    account: Option<(&'static str, &'static str)>,
    source: &'static str,
    port: u16,
    request: Option<Asking>,
}

#[derive(Clone, Debug)]
struct Asking {
    method: &'static str,
    path: &'static str,
    host: &'static str,
    header: Option<&'static str>,
    token: Option<&'static str>,
}

/// Fields of `source` and `operation` and keys of conditions, with values that sometimes fit.
const SOURCE: &[(&str, &[&str])] = &[
    ("rincipals", &["cluster.local/ns/shop/sa/till", "cluster.local/ns/shop/*", "*/sa/till", "*"]),
    ("amespaces", &["shop", "sh*", "*ank", "*"]),
    ("pBlocks", &["10.0.0.1", "10.0.0.0/24", "0.0.0.0/0"]),
    ("equestPrincipals", &["iss/ann", "iss/*", "*/ann", "*"]),
];
const OPERATION: &[(&str, &[&str])] = &[
    ("orts", &["80", "443"]),
    ("ethods", &["GET", "POST", "*"]),
    ("aths", &["/a", "/a/*", "*/z", "/{*}/z"]),
    ("osts", &["Shop.example", "shop.*", "*.example", "*"]),
];
const KEYS: &[(&str, &[&str])] = &[
    ("source.ip", &["10.0.0.1", "10.0.1.0/24"]),
    ("source.principal", &["*/sa/clerk", "*"]),
    ("source.namespace", &["bank"]),
    ("destination.ip", &["10.9.0.1", "10.9.9.0/24"]),
    ("destination.port", &["443"]),
    ("request.headers[x-a]", &["one", "o*", "*"]),
    ("request.auth.principal", &["iss/bob", "*"]),
];

/// Some fields, in either form. The first letter follows: `principals` or `notPrincipals`.
fn fields(all: &'static [(&str, &[&str])], firsts: &'static [&str]) -> impl Strategy<Value = Value> {
    let all: Vec<_> = all.iter().zip(firsts).collect();
    subsequence(all, 1..=2).prop_flat_map(|chosen| {
        let each: Vec<_> = chosen
            .into_iter()
            .map(|((rest, values), first)| {
                (subsequence(values.to_vec(), 1..=2.min(values.len())), any::<bool>()).prop_map(
                    move |(values, negated)| {
                        let first = if negated { format!("not{}", first.to_uppercase()) } else { (*first).to_owned() };
                        (format!("{first}{rest}"), json!(values))
                    },
                )
            })
            .collect();
        each.prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
    })
}

fn condition() -> impl Strategy<Value = Value> {
    select(KEYS).prop_flat_map(|(key, values)| {
        let some = || subsequence(values.to_vec(), 1..=values.len());
        (prop::option::of(some()), some(), any::<bool>()).prop_map(move |(values, others, negated)| match values {
            Some(values) if negated => json!({"key": key, "values": values, "notValues": others}),
            Some(values) => json!({"key": key, "values": values}),
            None => json!({"key": key, "notValues": others}),
        })
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let from = vec(fields(SOURCE, &["p", "n", "i", "r"]).prop_map(|source| json!({"source": source})), 0..=2);
    let to = vec(fields(OPERATION, &["p", "m", "p", "h"]).prop_map(|operation| json!({"operation": operation})), 0..=2);
    (from, to, vec(condition(), 0..=2)).prop_map(|(from, to, when)| {
        let parts = [("from", from), ("to", to), ("when", when)];
        let some = parts.into_iter().filter(|(_, part)| !part.is_empty());
        Value::Object(some.map(|(name, part)| (name.to_owned(), Value::Array(part))).collect())
    })
}

fn policies() -> impl Strategy<Value = Vec<Value>> {
    let one = (select(&["ALLOW", "ALLOW", "DENY"][..]), vec(rule(), 0..=2));
    vec(one.prop_map(|(action, rules)| json!({"action": action, "rules": rules})), 0..=3)
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let asking = (
        select(&["GET", "POST"][..]),
        select(&["/a", "/a/b", "/a/z", "/z"][..]),
        select(&["shop.example", "SHOP.example", "bank.example", "other"][..]),
        prop::option::of(select(&["one", "other", "two"][..])),
        prop::option::of(select(&["iss/ann", "iss/bob"][..])),
    );
    let asking = asking.prop_map(|(method, path, host, header, token)| Asking { method, path, host, header, token });
    let accounts = select(&[("shop", "till"), ("shop", "clerk"), ("bank", "till")][..]);
    let sources = select(&["10.0.0.1", "10.0.0.2", "10.0.1.1"][..]);
    (prop::option::of(accounts), sources, select(&[80, 443][..]), prop::option::of(asking))
        .prop_map(|(account, source, port, request)| Traffic { account, source, port, request })
}

/// Whether it is let in, by the agent.
fn actual(policies: &[Value], traffic: &Traffic) -> bool {
    let manifests = policies.iter().enumerate().map(|(n, spec)| {
        json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
               "metadata": {"name": format!("p{n}"), "namespace": "shop"}, "spec": spec})
    });
    let text: String = manifests.map(|manifest| format!("---\n{manifest}\n")).collect();
    let read = authorizations(&Dir::new(&[("f.yaml", &text)]).read());
    assert!(read.len() == policies.len() && read.iter().all(|policy| !policy.stand_in), "{text}\n{read:#?}");
    let books = pod("shop/books", "10.9.0.1", &[]);
    let world = World::new(read.into_iter().map(put).chain([put(books.clone())]).collect());
    let table = &world.snapshot.policies;
    let proven = |(namespace, account)| format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().unwrap();
    let peer = traffic.account.map_or(Peer::Anonymous, |account| Peer::Verified(proven(account)));
    let source: IpAddr = traffic.source.parse().unwrap();
    let connection = Connection::new(&peer, source, ("10.9.0.1".parse::<IpAddr>().unwrap(), traffic.port).into());
    let Some(asking) = &traffic.request else {
        return matches!(authorize_opaque(table, &books, &connection, Asked::No).verdict, Verdict::Allowed { .. });
    };
    let mut headers = HeaderMap::new();
    if let Some(value) = asking.header {
        headers.insert("x-a", value.parse().unwrap());
    }
    let token = asking.token.map(|principal| Token { principal: principal.to_owned(), ..Token::default() });
    let (method, path, authority) = (asking.method, asking.path, asking.host);
    let request = Request { method, path, authority, headers: &headers, remote: source, token: token.as_ref() };
    let decision = authorize_request(table, &books, (&connection, &request), Asked::No);
    matches!(decision.verdict, Verdict::Allowed { .. })
}

/// Whether it is let in, by the reference: any DENY policy that matches denies; without ALLOW policies all is allowed;
/// an ALLOW policy that matches allows; everything else is denied.
fn expected(policies: &[Value], traffic: &Traffic) -> bool {
    let of = |action: &str| policies.iter().filter(|policy| policy["action"] == action).collect::<Vec<_>>();
    let matches = |policy: &&Value| list(&policy["rules"]).any(|rule| rule_matches(rule, &policy["action"], traffic));
    let (deny, allow) = (of("DENY"), of("ALLOW"));
    !deny.iter().any(matches) && (allow.is_empty() || allow.iter().any(matches))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn rule_matches(rule: &Value, action: &Value, traffic: &Traffic) -> bool {
    let one_of = |part: &Value, inner: &str| {
        part.is_null()
            || list(part).any(|one| {
                let fields = one[inner].as_object().unwrap();
                fields.iter().all(|(name, values)| field_matches(name, values, action, traffic))
            })
    };
    let condition = |when: &Value| {
        let key = when["key"].as_str().unwrap();
        let holds = |values: &Value, negated| values.is_null() || test(key, values, negated, action, traffic);
        holds(&when["values"], false) && holds(&when["notValues"], true)
    };
    one_of(&rule["from"], "source") && one_of(&rule["to"], "operation") && list(&rule["when"]).all(condition)
}

fn field_matches(name: &str, values: &Value, action: &Value, traffic: &Traffic) -> bool {
    let plain = name.strip_prefix("not").map(|rest| rest[..1].to_lowercase() + &rest[1..]);
    test(plain.as_deref().unwrap_or(name), values, plain.is_some(), action, traffic)
}

/// One field or condition. What needs HTTP where there is none is in no ALLOW rule that matches, and is left out of DENY
/// rules.
fn test(name: &str, values: &Value, negated: bool, action: &Value, traffic: &Traffic) -> bool {
    let account = traffic.account;
    let asking = traffic.request.as_ref();
    let value: Option<String> = match name {
        "principals" | "source.principal" => account.map(|(ns, sa)| format!("cluster.local/ns/{ns}/sa/{sa}")),
        "namespaces" | "source.namespace" => account.map(|(namespace, _)| namespace.to_owned()),
        "ipBlocks" | "source.ip" => Some(traffic.source.to_owned()),
        "destination.ip" => Some("10.9.0.1".to_owned()),
        "ports" | "destination.port" => Some(traffic.port.to_string()),
        _ => {
            let Some(asking) = asking else { return action == "DENY" };
            match name {
                "methods" => Some(asking.method.to_owned()),
                "paths" => Some(asking.path.to_owned()),
                "hosts" => Some(asking.host.to_lowercase()),
                "request.headers[x-a]" => asking.header.map(str::to_owned),
                "requestPrincipals" | "request.auth.principal" => asking.token.map(str::to_owned),
                other => panic!("{other}"),
            }
        }
    };
    let fits = value.is_some_and(|value| list(values).any(|one| value_fits(name, one.as_str().unwrap(), &value)));
    fits != negated
}

fn value_fits(name: &str, pattern: &str, value: &str) -> bool {
    if name.ends_with("pBlocks") || name.ends_with(".ip") {
        let (base, bits) = pattern.split_once('/').unwrap_or((pattern, "32"));
        let number = |text: &str| u64::from(u32::from(text.parse::<std::net::Ipv4Addr>().unwrap()));
        let size = 1_u64 << (32 - bits.parse::<u32>().unwrap());
        return number(base) / size == number(value) / size;
    }
    let pattern = if name == "hosts" { pattern.to_lowercase() } else { pattern.to_owned() };
    match pattern.as_str() {
        "*" => !value.is_empty(),
        "/{*}/z" => value.len() > 3 && value.ends_with("/z") && value[1..].matches('/').count() == 1,
        other if other.starts_with('*') => value.ends_with(&other[1..]),
        other if other.ends_with('*') => value.starts_with(&other[..other.len() - 1]),
        other => value == other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_agent_reads_policies_as_the_reference_does(policies in policies(), all in vec(traffic(), 8)) {
        for traffic in all {
            prop_assert_eq!(actual(&policies, &traffic), expected(&policies, &traffic), "{:#?}", traffic);
        }
    }
}

/// The comparison would be worth nothing if all were denied, or all allowed.
#[test]
fn random_policies_allow_and_deny() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0; 4];
    for _ in 0..2000 {
        let policies = policies().new_tree(&mut runner).unwrap().current();
        let traffic = traffic().new_tree(&mut runner).unwrap().current();
        counts[usize::from(expected(&policies, &traffic)) * 2 + usize::from(traffic.request.is_some())] += 1;
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}
