//! What filters do to requests and answers.

use super::{Mesh, client, http_route};
use crate::route::{Answer, Forward, Plan, Verdict};
use fastrand::Rng;
use http::{HeaderMap, Request};

const FILTERED: &str = "
- matches: [{path: {value: /old}}]
  filters:
  - {type: URLRewrite, urlRewrite: {hostname: new.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-who, value: rule}], remove: [x-gone]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-rule, value: r}]}}
  - {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}
  - {type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}, percent: 0}}
  - {type: RequestMirror, requestMirror: {backendRef: {name: none, port: 80}}}
  backendRefs:
  - name: v1
    port: 80
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-to, value: v1}]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-from, value: v1}]}}
- matches: [{path: {value: /root}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
  backendRefs: [{name: v1, port: 80}]
- matches: [{path: {value: /full}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}]
  backendRefs: [{name: v1, port: 80}]
- matches: [{path: {value: /moved}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.com, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /to}}}]
- matches: [{path: {value: /half-moved}}]
  backendRefs:
  - {name: v1, port: 80, weight: 0}
  - name: v2
    port: 80
    filters: [{type: RequestRedirect, requestRedirect: {hostname: b.com}}]
- matches: [{path: {value: /cors}}]
  filters: [{type: CORS, cors: {allowOrigins: ['https://*.a.com'], allowMethods: [PUT], maxAge: 7}}]
  backendRefs: [{name: v1, port: 80}]
";

fn verdict(request: &Request<()>) -> Verdict {
    let mut mesh = Mesh::new(&http_route(FILTERED.trim_start()));
    let Plan::Http(table) = mesh.connect("shop", "10.96.0.1:80") else { panic!() };
    let parts = request.clone().into_parts().0;
    table.decide(&client("shop"), &parts, &mut Rng::with_seed(3)).unwrap().verdict
}

fn get(path: &str) -> Request<()> {
    Request::get(path).header("host", "books.shop").header("x-gone", "1").body(()).unwrap()
}

fn forwarded(request: &Request<()>) -> Forward {
    let Verdict::Forward(forward) = verdict(request) else { panic!() };
    forward
}

fn answered(request: &Request<()>) -> Answer {
    let Verdict::Answer(answer) = verdict(request) else { panic!() };
    answer
}

#[test]
fn requests_and_answers_are_shaped_by_the_rule_and_the_backend() {
    let request = get("/old/book?q=1");
    let forward = forwarded(&request);
    let mut parts = request.into_parts().0;
    forward.shape_request(&mut parts);
    assert_eq!(parts.uri.path_and_query().unwrap(), "/new/book?q=1");
    let authority = parts.uri.authority().map(|one| one.as_str().to_owned());
    let host = parts.headers.get("host").map(|one| one.to_str().unwrap().to_owned());
    assert_eq!(authority.or(host).as_deref(), Some("new.example.com"));
    assert_eq!((&parts.headers["x-who"], &parts.headers["x-to"]), (&"rule".parse().unwrap(), &"v1".parse().unwrap()));
    assert!(!parts.headers.contains_key("x-gone"));
    let mut headers = HeaderMap::new();
    forward.shape_response(&mut headers);
    assert_eq!((&headers["x-rule"], &headers["x-from"]), (&"r".parse().unwrap(), &"v1".parse().unwrap()));
    let mirrors: Vec<_> = forward.mirrors().iter().map(|to| &*to.service.name).collect();
    assert_eq!(mirrors, ["v2"]);
}

#[test]
fn paths_are_rewritten_by_elements() {
    for (path, sent) in [
        ("/old", "/new"),
        ("/old/", "/new/"),
        ("/root", "/"),
        ("/root/", "/"),
        ("/root/a/b", "/a/b"),
        ("/full/a?q", "/one?q"),
    ] {
        let request = get(path);
        let forward = forwarded(&request);
        let mut parts = request.into_parts().0;
        forward.shape_request(&mut parts);
        assert_eq!(parts.uri.path_and_query().unwrap(), sent, "{path}");
    }
}

#[test]
fn redirects_name_the_new_place() {
    for (path, status, location) in
        [("/moved/x?q", 301, "https://a.com/to/x?q"), ("/half-moved/x", 302, "http://b.com/half-moved/x")]
    {
        let answer = answered(&get(path));
        assert_eq!((answer.status.as_u16(), answer.headers["location"].to_str().unwrap()), (status, location));
    }
}

#[test]
fn a_preflight_is_answered_for_the_origins_that_are_allowed() {
    let preflight = |origin: &str| {
        let request = Request::options("/cors").header("host", "books.shop").header("origin", origin);
        answered(&request.header("access-control-request-method", "PUT").body(()).unwrap())
    };
    let answer = preflight("https://x.a.com");
    assert!(answer.status.is_success());
    assert_eq!(answer.headers["access-control-allow-origin"], "https://x.a.com");
    assert_eq!(answer.headers["access-control-max-age"], "7");
    assert!(!preflight("https://evil.org").headers.contains_key("access-control-allow-origin"));
    let request =
        Request::get("/cors").header("host", "books.shop").header("origin", "https://x.a.com").body(()).unwrap();
    let mut headers = HeaderMap::new();
    forwarded(&request).shape_response(&mut headers);
    assert_eq!(headers["access-control-allow-origin"], "https://x.a.com");
}
