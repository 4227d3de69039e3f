//! Which rule takes a request or a connection.

use crate::model::{HttpMatch, StringMatch, TcpMatch, Workload};
use crate::route::matching;
use crate::snapshot::fixtures::{http_rule, labels, pod, tcp_rule};
use crate::vocab::OrigDst;
use http::HeaderName;
use http::request::{Builder, Parts};

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn prefix(text: &str) -> StringMatch {
    StringMatch::Prefix(text.into())
}

fn regex(text: &str) -> StringMatch {
    StringMatch::Regex(regex::Regex::new(text).unwrap())
}

fn request(uri: &str, change: impl Fn(Builder) -> Builder) -> Parts {
    change(http::Request::builder().uri(uri)).body(()).unwrap().into_parts().0
}

fn client() -> Workload {
    pod("shop/client", "10.0.0.1", &[("app", "client"), ("tier", "front")])
}

fn takes(one: HttpMatch, request: &Parts) -> bool {
    matching::http_rule(&http_rule(vec![one], vec![]), &client(), 80, request)
}

#[test]
fn the_path_is_matched_without_its_query() {
    for (wanted, ignore_uri_case, uri, taken) in [
        (exact("/a"), false, "/a?x=1", true),
        (exact("/a"), false, "http://h/a", true),
        (exact("/a"), false, "/a/", false),
        (exact("/a"), false, "/A", false),
        (exact("/a"), true, "/A", true),
        (prefix("/a"), false, "/ab", true),
        (prefix("/a"), false, "/b/a", false),
        (prefix("/AB"), true, "/abc", true),
        (prefix("/abc"), true, "/ab", false),
        (regex("/v[0-9]"), false, "/v1", true),
        (regex("/v[0-9]"), false, "/v1/x", false),
        (regex("^(?:/v|/v[0-9])$"), false, "/v1", true),
        (StringMatch::Present, false, "/", true),
    ] {
        let one = HttpMatch { uri: Some(wanted.clone()), ignore_uri_case, ..Default::default() };
        assert_eq!(takes(one, &request(uri, |b| b)), taken, "{wanted:?} {uri}");
    }
}

#[test]
fn headers_match_by_their_values_joined() {
    let with = |name: &'static str, wanted| HttpMatch {
        headers: vec![(HeaderName::from_static(name), wanted)],
        ..Default::default()
    };
    let two = request("/", |b| b.header("x", "a").header("x", "b").header("raw", &b"\xff"[..]));
    for (one, taken) in [
        (with("x", exact("a,b")), true),
        (with("x", exact("a")), false),
        (with("x", prefix("a")), true),
        (with("x", StringMatch::Present), true),
        (with("y", StringMatch::Present), false),
        (with("y", exact("")), false),
        (with("raw", StringMatch::Present), true),
        (with("raw", prefix("")), false),
    ] {
        assert_eq!(takes(one.clone(), &two), taken, "{one:?}");
        let without = HttpMatch { without_headers: one.headers.clone(), ..Default::default() };
        assert_eq!(takes(without, &two), !taken, "without {one:?}");
    }
}

#[test]
fn the_authority_is_the_targets_or_the_host_header() {
    let one = || HttpMatch { authority: Some(exact("books:80")), ..Default::default() };
    let host = || HttpMatch { headers: vec![(http::header::HOST, exact("books:80"))], ..Default::default() };
    for (request, taken) in [
        (request("http://books:80/", |b| b), true),
        (request("/", |b| b.header("host", "books:80")), true),
        (request("http://till/", |b| b.header("host", "books:80")), false),
        (request("/", |b| b), false),
    ] {
        assert_eq!(takes(one(), &request), taken, "{request:?}");
        assert_eq!(takes(host(), &request), taken, "{request:?}");
    }
}

#[test]
fn all_conditions_of_a_match_hold_and_any_match_of_a_rule_is_enough() {
    let get = request("/a", |b| b.method("GET"));
    let method = |name: &str| HttpMatch { method: Some(exact(name)), ..Default::default() };
    let both = HttpMatch { uri: Some(exact("/b")), ..method("GET") };
    for (matches, taken) in [
        (vec![], true),
        (vec![method("GET")], true),
        (vec![method("get")], false),
        (vec![both.clone()], false),
        (vec![both, method("GET")], true),
    ] {
        let rule = http_rule(matches, vec![]);
        assert_eq!(matching::http_rule(&rule, &client(), 80, &get), taken, "{rule:?}");
    }
}

#[test]
fn the_client_and_the_port_that_it_used_are_matched() {
    let port = |port| HttpMatch { port: Some(port), ..Default::default() };
    let namespace = |name: &str| HttpMatch { source_namespace: Some(name.into()), ..Default::default() };
    let labelled = |pairs| HttpMatch { source_labels: labels(pairs), ..Default::default() };
    for (one, taken) in [
        (port(80), true),
        (port(81), false),
        (namespace("shop"), true),
        (namespace("bank"), false),
        (labelled(&[("app", "client")]), true),
        (labelled(&[("app", "client"), ("v", "1")]), false),
    ] {
        assert_eq!(takes(one.clone(), &request("/", |b| b)), taken, "{one:?}");
    }
}

#[test]
fn connections_match_by_address_port_and_client() {
    let subnets = |nets: &[&str]| TcpMatch {
        destination_subnets: nets.iter().map(|net| net.parse().unwrap()).collect(),
        ..Default::default()
    };
    for (matches, taken) in [
        (vec![], true),
        (vec![subnets(&["10.96.0.0/16"])], true),
        (vec![subnets(&["10.97.0.0/16", "10.96.0.1/32"])], true),
        (vec![subnets(&["10.97.0.0/16"])], false),
        (vec![TcpMatch { port: Some(80), ..Default::default() }], true),
        (vec![TcpMatch { port: Some(81), ..subnets(&["10.96.0.0/16"]) }], false),
        (vec![TcpMatch { source_namespace: Some("bank".into()), ..Default::default() }], false),
        (vec![TcpMatch { source_labels: labels(&[("tier", "front")]), ..Default::default() }], true),
        (vec![TcpMatch { source_labels: labels(&[("tier", "back")]), ..Default::default() }], false),
    ] {
        let rule = tcp_rule(matches, vec![]);
        let dst = OrigDst::new("10.96.0.1:80".parse().unwrap());
        assert_eq!(matching::tcp_rule(&rule, &client(), dst), taken, "{rule:?}");
    }
}
