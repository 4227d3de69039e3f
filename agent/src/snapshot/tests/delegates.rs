//! Roots and delegates, in whatever order they come.

use crate::model::AppProtocol::Http;
use crate::model::http_rule::{HeaderOps, Retry};
use crate::model::{Change, HttpAction, HttpMatch, HttpRule, StringMatch, VirtualService};
use crate::snapshot::fixtures::*;
use std::time::Duration;

fn prefix(text: &str) -> HttpMatch {
    HttpMatch { uri: Some(StringMatch::Prefix(text.into())), ..Default::default() }
}

fn exact(text: &str) -> HttpMatch {
    HttpMatch { uri: Some(StringMatch::Exact(text.into())), ..Default::default() }
}

/// A rule that delegates.
fn delegating(matches: Vec<HttpMatch>, to: &str) -> HttpRule {
    HttpRule { action: HttpAction::Delegate(object_id(to)), ..http_rule(matches, vec![]) }
}

fn books() -> Vec<Change> {
    let service = service("shop/books", "10.96.0.1", &[(80, Http)]);
    vec![put(service), put(slice("shop/books", &["10.0.0.1"], &[(80, 8080)]))]
}

fn root(rules_: Vec<HttpRule>) -> VirtualService {
    rules("shop/root", &["shop/books"], rules_, vec![])
}

fn delegate(rules_: Vec<HttpRule>) -> VirtualService {
    rules("team/v1", &[], rules_, vec![])
}

/// The rules in force: the texts of their matches, and whether they answer 500.
fn in_force(world: &World) -> Vec<String> {
    let Some(binding) = world.snapshot.routes.bindings.get(&object_id("shop/root")) else { return vec![] };
    let text = |one: &HttpMatch| match &one.uri {
        Some(StringMatch::Exact(text)) => format!("={text}"),
        Some(StringMatch::Prefix(text)) => text.to_string(),
        other => format!("{other:?}"),
    };
    let rule = |rule: &HttpRule| {
        let matches: Vec<_> = rule.matches.iter().map(text).collect();
        format!("{}{}", matches.join(" "), if rule.broken.is_some() { " 500" } else { "" })
    };
    binding.rules.http.iter().map(rule).collect()
}

fn changes_of(object: VirtualService) -> Vec<Change> {
    vec![put(object)]
}

#[test]
fn the_rules_of_a_delegate_stand_where_the_root_delegates() {
    let to = || vec![to("shop/books", 1)];
    let roots = root(vec![
        http_rule(vec![exact("/x")], to()),
        delegating(vec![prefix("/a"), prefix("/b")], "team/v1"),
        http_rule(vec![], to()),
    ]);
    let own = delegate(vec![http_rule(vec![exact("/a/1"), prefix("/b/2")], to()), http_rule(vec![], to())]);
    let mut world = World::new([books(), changes_of(roots.clone()), changes_of(own.clone())].concat());
    let expected = ["=/x", "=/a/1 /b/2", "/a /b", ""];
    assert_eq!((in_force(&world), world.codes()), (expected.map(String::from).to_vec(), vec![]));
    world.apply(vec![gone(own.clone())]);
    assert_eq!(in_force(&world), ["=/x", "/a /b 500", ""]);
    assert_eq!(world.codes(), ["missing-delegate a rule"]);
    world.apply(vec![put(delegate(vec![http_rule(vec![prefix("/a/9")], to())]))]);
    assert_eq!(in_force(&world), ["=/x", "/a/9", ""]);
    world.apply(vec![gone(roots)]);
    assert_eq!((in_force(&world), world.codes()), (vec![], vec!["unused-delegate team/v1".to_owned()]));
    assert!(world.snapshot.routes.bindings.is_empty());
}

#[test]
fn any_order_of_roots_and_delegates_leads_to_the_same() {
    let to = || vec![to("shop/books", 1)];
    let all = [
        books(),
        changes_of(root(vec![delegating(vec![], "team/v1"), delegating(vec![], "team/v2")])),
        changes_of(delegate(vec![http_rule(vec![exact("/1")], to())])),
        changes_of(rules("team/v2", &[], vec![http_rule(vec![exact("/2")], to())], vec![])),
    ]
    .concat();
    let expected = World::new(all.clone());
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..30 {
        let mut changes = all.clone();
        rng.shuffle(&mut changes);
        let mut world = World::new(vec![]);
        for change in changes {
            world.apply(vec![change]);
        }
        assert_eq!(in_force(&world), in_force(&expected));
        assert_eq!(world.findings, expected.findings);
    }
}

#[test]
fn a_delegate_says_first_and_the_root_what_it_leaves_unsaid() {
    let retry = |attempts| Some(Retry { attempts, ..Retry::usual() });
    let mut from = delegating(vec![], "team/v1");
    (from.name, from.timeout, from.retry) = (Some("root".into()), Some(Duration::from_secs(5)), retry(7));
    from.filters.request = HeaderOps { remove: vec!["x-root".parse().unwrap()], ..Default::default() };
    let mut silent = http_rule(vec![], vec![to("shop/books", 1)]);
    silent.name = Some("own".into());
    let mut telling = silent.clone();
    (telling.timeout, telling.retry) = (Some(Duration::ZERO), retry(0));
    telling.filters.response = HeaderOps { remove: vec!["x-own".parse().unwrap()], ..Default::default() };
    let world =
        World::new([books(), changes_of(root(vec![from])), changes_of(delegate(vec![silent, telling]))].concat());
    let rules = &world.snapshot.routes.bindings[&object_id("shop/root")].rules.http;
    assert_eq!(rules[0].name.as_deref(), Some("root-own"));
    assert_eq!((rules[0].timeout, &rules[0].retry), (Some(Duration::from_secs(5)), &retry(7)));
    assert_eq!(rules[0].filters.request.remove, ["x-root"]);
    assert_eq!((rules[1].timeout, &rules[1].retry), (None, &None));
    assert_eq!((rules[1].filters.request.is_empty(), rules[1].filters.response.remove.len()), (true, 1));
}

#[test]
fn a_rule_that_takes_more_than_its_root_is_not_in_force() {
    let regex = HttpMatch { uri: Some(StringMatch::Regex(regex::Regex::new("/a.*").unwrap())), ..Default::default() };
    let with = |port, app: &str| HttpMatch { port, source_labels: labels(&[("app", app)]), ..Default::default() };
    for (wider, own, fits) in [
        (prefix("/a"), prefix("/a/b"), true),
        (prefix("/a"), exact("/ab"), true),
        (prefix("/a"), prefix("/"), false),
        (exact("/a"), exact("/a"), true),
        (exact("/a"), exact("/b"), false),
        (exact("/a"), prefix("/a"), false),
        (prefix("/a"), regex.clone(), false),
        (regex, with(None, "x"), true),
        (with(Some(80), "x"), with(None, "x"), true),
        (with(Some(80), "x"), with(Some(81), "x"), false),
        (with(None, "x"), with(None, "y"), false),
        (prefix("/a"), HttpMatch { ignore_uri_case: true, ..exact("/a") }, false),
    ] {
        let case = format!("{wider:?} {own:?}");
        let rules = vec![http_rule(vec![own], vec![to("shop/books", 1)])];
        let root = root(vec![delegating(vec![wider], "team/v1")]);
        let world = World::new([books(), changes_of(root), changes_of(delegate(rules))].concat());
        let expected: &[&str] = if fits { &[] } else { &["delegate-conflict a rule"] };
        assert_eq!(
            (in_force(&world).len(), world.codes()),
            (usize::from(fits), expected.iter().map(|code| (*code).into()).collect()),
            "{case}"
        );
    }
}

#[test]
fn a_delegate_that_the_root_does_not_see_is_missing() {
    let rules = vec![http_rule(vec![], vec![to("shop/books", 1)])];
    let hidden = VirtualService { export_to: vec!["team".into()], ..delegate(rules) };
    let root = root(vec![delegating(vec![], "team/v1")]);
    let world = World::new([books(), changes_of(root), changes_of(hidden)].concat());
    assert_eq!(
        (in_force(&world), world.codes()),
        (vec![" 500".to_owned()], vec!["missing-delegate a rule".to_owned()])
    );
    assert!(
        world.findings[0].message.contains("team/v1 is not exported to the namespace shop"),
        "{:?}",
        world.findings
    );
}
