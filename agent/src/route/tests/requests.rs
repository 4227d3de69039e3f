//! Which rule takes a request or a connection.

use crate::model::{HttpMatch, StringMatch, TcpMatch, TlsMatch, TlsRule, Workload};
use crate::route::matching::{self, Asked};
use crate::snapshot::fixtures::{labels, pod, tcp_rule};
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
    matching::http_match(&one, &Asked { source: &client(), port: 80, request })
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
fn all_conditions_of_a_match_hold() {
    let get = request("/a", |b| b.method("GET"));
    let method = |name: &str| HttpMatch { method: Some(exact(name)), ..Default::default() };
    for (one, taken) in [
        (HttpMatch::default(), true),
        (method("GET"), true),
        (method("get"), false),
        (HttpMatch { uri: Some(exact("/b")), ..method("GET") }, false),
        (HttpMatch { uri: Some(exact("/a")), ..method("GET") }, true),
    ] {
        assert_eq!(takes(one.clone(), &get), taken, "{one:?}");
    }
}

#[test]
fn path_elements_the_scheme_and_parameters_are_matched() {
    let elements = |text: &str| HttpMatch { uri: Some(StringMatch::PathPrefix(text.into())), ..Default::default() };
    let scheme = |wanted| HttpMatch { scheme: Some(wanted), ..Default::default() };
    let parameter = |name: &str, wanted| HttpMatch { query_params: vec![(name.into(), wanted)], ..Default::default() };
    for (one, uri, taken) in [
        (elements("/a"), "/a", true),
        (elements("/a"), "/a/b", true),
        (elements("/a"), "/a?b", true),
        (elements("/a"), "/ab", false),
        (elements(""), "/ab", true),
        (HttpMatch { ignore_uri_case: true, ..elements("/A") }, "/a/b", true),
        (scheme(exact("http")), "/", true),
        (scheme(exact("http")), "http://h/", true),
        (scheme(prefix("https")), "/", false),
        (scheme(regex("https?")), "https://h/", true),
        (parameter("a", exact("1")), "/?a=1", true),
        (parameter("a", exact("1")), "/?a=2&a=1", false),
        (parameter("a", exact("1")), "/", false),
        (parameter("a", prefix("1")), "/?b=0&a=12", true),
        (parameter("a", regex("[0-9]+")), "/?a=12x", false),
        (parameter("a", StringMatch::Present), "/?a", true),
        (parameter("a", StringMatch::Present), "/?b", false),
        (parameter("a", exact("b c")), "/?a=b%20c", true),
        (parameter("a", exact("b+c")), "/?a=b+c", true),
        (parameter("a", exact("b%20c")), "/?a=b%20c", true),
        (parameter("a b", exact("1")), "/?a+b=1", true),
    ] {
        assert_eq!(takes(one.clone(), &request(uri, |b| b)), taken, "{one:?} {uri}");
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

#[test]
fn tls_connections_match_by_the_name_that_the_client_asks_for_and_as_connections_do() {
    let one = |hosts: &[&str], port| TlsMatch {
        sni_hosts: hosts.iter().copied().map(Into::into).collect(),
        connection: TcpMatch { port, ..Default::default() },
    };
    for (matches, sni, taken) in [
        (vec![one(&["a.com"], None)], Some("a.com"), true),
        (vec![one(&["a.com"], None)], Some("A.Com"), true),
        (vec![one(&["a.com"], None)], Some("b.com"), false),
        (vec![one(&["a.com"], None)], None, false),
        (vec![one(&["b.com", "*.a.com"], None)], Some("x.y.a.com"), true),
        (vec![one(&["*.a.com"], None)], Some("a.com"), false),
        (vec![one(&["*"], None)], None, true),
        (vec![one(&["a.com"], Some(443))], Some("a.com"), true),
        (vec![one(&["a.com"], Some(444))], Some("a.com"), false),
        (vec![one(&["a.com"], Some(444)), one(&["a.com"], Some(443))], Some("a.com"), true),
        (vec![], Some("a.com"), false),
    ] {
        let rule = TlsRule { matches, route: vec![], broken: None };
        let dst = OrigDst::new("10.96.0.1:443".parse().unwrap());
        assert_eq!(matching::tls_rule(&rule, &client(), dst, sni), taken, "{rule:?} {sni:?}");
    }
}
