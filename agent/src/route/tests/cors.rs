//! Which origins may read what.

use super::scene::{Scene, request, to_books};
use crate::model::http_rule::{Cors, DirectResponse, HeaderOps};
use crate::model::{Filters, HttpAction, HttpRule, StringMatch};
use crate::snapshot::fixtures::{http_rule, to};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use std::time::Duration;

fn cors() -> Cors {
    Cors {
        origins: vec![StringMatch::Exact("https://a.example".into())],
        methods: vec![Method::GET, Method::PUT],
        headers: vec!["x-a".parse().unwrap(), "x-b".parse().unwrap()],
        expose: vec!["x-c".parse().unwrap()],
        max_age: Some(Duration::from_secs(60)),
        forward_unmatched: true,
        ..Cors::default()
    }
}

fn from_origin(origin: &str) -> Parts {
    request("/a", |b| b.header("origin", origin))
}

fn preflight(origin: &str) -> Parts {
    request("/a", |b| {
        let asked = b.method("OPTIONS").header("origin", origin);
        asked.header("access-control-request-method", "DELETE").header("access-control-request-headers", "x-z")
    })
}

fn shared(cors: Cors) -> Scene {
    let response = HeaderOps { set: vec![("x".parse().unwrap(), "1".parse().unwrap())], ..Default::default() };
    let filters = Filters { cors: Some(cors), response, ..Default::default() };
    Scene::new(vec![HttpRule { filters, ..to_books() }])
}

fn lines(headers: &HeaderMap) -> String {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.join("\n").replace("access-control-", "")
}

#[test]
fn preflights_of_allowed_origins_are_answered_here() {
    let wild = Cors { any_method: true, any_header: true, any_expose: true, ..cors() };
    let any = Cors { origins: vec![StringMatch::Present], ..wild.clone() };
    let granted =
        "allow-headers: x-a,x-b\nallow-methods: GET,PUT\nallow-origin: https://a.example\nmax-age: 60\nvary: origin";
    for (cors, headers) in [
        (cors(), granted),
        (Cors { credentials: true, ..cors() }, &granted.replacen("allow-h", "allow-credentials: true\nallow-h", 1)),
        (wild, "allow-headers: *\nallow-methods: *\nallow-origin: https://a.example\nmax-age: 60\nvary: origin"),
        (any.clone(), "allow-headers: *\nallow-methods: *\nallow-origin: *\nmax-age: 60"),
        (
            Cors { credentials: true, max_age: None, ..any },
            "allow-credentials: true\nallow-headers: x-z\nallow-methods: DELETE\nallow-origin: https://a.example\nvary: origin",
        ),
        (
            Cors { methods: vec![], headers: vec![], max_age: None, ..cors() },
            "allow-origin: https://a.example\nvary: origin",
        ),
    ] {
        let answer = shared(cors.clone()).answer(&preflight("https://a.example"));
        assert_eq!(
            (answer.status.as_u16(), lines(&answer.headers).as_str(), answer.flag),
            (200, headers, "-"),
            "{cors:?}"
        );
    }
}

#[test]
fn preflights_of_other_origins_go_on_or_are_answered_without_a_grant() {
    shared(cors()).forward(&preflight("https://b.example"));
    let answer = shared(Cors { forward_unmatched: false, ..cors() }).answer(&preflight("https://b.example"));
    assert_eq!((answer.status.as_u16(), lines(&answer.headers).as_str()), (200, ""));
    let options = request("/a", |b| b.method("OPTIONS").header("origin", "https://a.example"));
    shared(cors()).forward(&options);
}

#[test]
fn answers_are_marked_for_the_origins_that_may_read_them() {
    let with = |cors: Cors, origin: &str| {
        let mut headers: HeaderMap = [("access-control-allow-origin", "the application's"), ("y", "2")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        shared(cors).forward(&from_origin(origin)).shape_response(&mut headers);
        lines(&headers)
    };
    let a = "https://a.example";
    assert_eq!(with(cors(), a), "allow-origin: https://a.example\nexpose-headers: x-c\nvary: origin\nx: 1\ny: 2");
    assert_eq!(with(cors(), "https://b.example"), "allow-origin: the application's\nx: 1\ny: 2");
    let any = Cors { origins: vec![StringMatch::Exact("*".into())], any_expose: true, ..cors() };
    assert_eq!(with(any.clone(), a), "allow-origin: *\nexpose-headers: *\nx: 1\ny: 2");
    let named = with(Cors { credentials: true, ..any }, a);
    assert!(named.contains("allow-credentials: true\nallow-origin: https://a.example\nexpose-headers: "), "{named}");
    let exposed = named.lines().find_map(|line| line.strip_prefix("expose-headers: ")).unwrap();
    assert!(["x", "y"].iter().all(|name| exposed.split(',').any(|one| one == *name)), "{exposed}");
}

#[test]
fn answers_of_a_rule_are_marked_too_and_a_destination_may_have_a_policy_of_its_own() {
    let filters = Filters { cors: Some(cors()), ..Default::default() };
    let direct = HttpAction::Direct(DirectResponse { status: StatusCode::OK, body: b"".as_slice().into() });
    let mut scene = Scene::new(vec![HttpRule { action: direct, filters: filters.clone(), ..to_books() }]);
    let answer = scene.answer(&from_origin("https://a.example"));
    assert_eq!(lines(&answer.headers), "allow-origin: https://a.example\nexpose-headers: x-c\nvary: origin");

    let mut one = to("shop/books", 1);
    one.filters = filters;
    let mut scene = Scene::new(vec![http_rule(vec![], vec![one])]);
    assert_eq!(scene.answer(&preflight("https://a.example")).status, 200);
    let mut headers = HeaderMap::new();
    scene.forward(&from_origin("https://a.example")).shape_response(&mut headers);
    assert_eq!(lines(&headers), "allow-origin: https://a.example\nexpose-headers: x-c\nvary: origin");
}
