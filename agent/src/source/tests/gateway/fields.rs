//! Every field of a route, in the model.

use super::super::assert_findings;
use super::{http_route, read, route};
use crate::model::gateway_route::{RankedRule, RouteRules};
use crate::model::http_rule::{HttpAction, PathChange, Redirect, RedirectPort, Share};
use crate::model::{GatewayRoute, StringMatch};
use http::{Method, StatusCode};
use std::time::Duration;

fn requests(route: &GatewayRoute) -> &[RankedRule] {
    let RouteRules::Requests(rules) = &route.rules else { panic!("{route:?}") };
    rules
}

/// The one rule of an HTTPRoute, of which nothing is said.
fn rule(text: &str) -> RankedRule {
    let (findings, route) = read(&http_route(text));
    assert_findings(&findings, &[]);
    requests(&route.expect("a route"))[0].clone()
}

const TO: &str = "  backendRefs: [{name: v1, port: 80}]\n";

#[test]
fn a_rule_without_matches_takes_every_request() {
    let rule =
        rule("- backendRefs: [{name: v1, port: 80}, {name: films, namespace: media, port: 81, weight: 3}]\n").rule;
    assert_eq!(rule.matches[0].uri, Some(StringMatch::PathPrefix("".into())));
    let to: Vec<_> =
        rule.route().iter().map(|to| (to.destination.host.as_str(), to.destination.port, to.weight)).collect();
    let hosts = ["v1.shop.svc.cluster.local", "films.media.svc.cluster.local"];
    assert_eq!(to, [(hosts[0], Some(80), 1), (hosts[1], Some(81), 3)]);
    assert_eq!(rule.broken, None);
}

#[test]
fn matches_are_those_of_the_specification() {
    let ranked = rule(&format!(
        "- name: some\n  matches:\n  - path: {{type: Exact, value: /a}}\n    method: POST\n    headers:\n    - {{name: X-A, value: b}}\n    \
         - {{name: x-r, type: RegularExpression, value: 'c.*'}}\n    queryParams:\n    - {{name: q, value: w}}\n  \
         - path: {{value: /b/}}\n  - path: {{type: RegularExpression, value: '/c[0-9]+'}}\n{TO}"
    ));
    let [exact, prefix, regex] = ranked.rule.matches.as_slice() else { panic!() };
    assert_eq!(exact.uri, Some(StringMatch::Exact("/a".into())));
    assert_eq!(exact.method, Some(StringMatch::Exact("POST".into())));
    assert_eq!(exact.headers[0], ("x-a".parse().unwrap(), StringMatch::Exact("b".into())));
    assert!(
        matches!(&exact.headers[1].1, StringMatch::Regex(pattern) if pattern.is_match("cd") && !pattern.is_match("xc"))
    );
    assert_eq!(exact.query_params[0], ("q".into(), StringMatch::Exact("w".into())));
    assert_eq!(prefix.uri, Some(StringMatch::PathPrefix("/b".into())));
    assert!(matches!(&regex.uri, Some(StringMatch::Regex(_))));
    assert_eq!(ranked.rule.name.as_deref(), Some("some"));
    assert!(ranked.ranks[0] > ranked.ranks[2] && ranked.ranks[2] > ranked.ranks[1]);
}

#[test]
fn filters_are_read_at_both_levels() {
    let filters = "filters:\nINDENT- type: RequestHeaderModifier\nINDENT  requestHeaderModifier:\nINDENT    set: [{name: A, value: b}]\nINDENT    \
                   add: [{name: c, value: d}]\nINDENT    remove: [e]\nINDENT- type: ResponseHeaderModifier\nINDENT  \
                   responseHeaderModifier: {set: [{name: f, value: g}]}\nINDENT- type: URLRewrite\nINDENT  urlRewrite:\nINDENT    \
                   hostname: other.example.com\nINDENT    path: {type: ReplaceFullPath, replaceFullPath: /h}\nINDENT- type: \
                   RequestMirror\nINDENT  requestMirror: {backendRef: {name: v2, port: 80}, percent: 25}\nINDENT- type: RequestMirror\nINDENT  \
                   requestMirror: {backendRef: {name: v3, port: 80}, fraction: {numerator: 1, denominator: 3}}\nINDENT- type: CORS\nINDENT  \
                   cors: {allowOrigins: ['https://a.com'], allowMethods: ['*'], allowHeaders: [X-A], exposeHeaders: ['*'], \
                   allowCredentials: true, maxAge: 60}\n";
    let of_rule = filters.replace("INDENT", "  ");
    let of_backend = filters.replace("INDENT", "    ");
    let rule = rule(&format!("- {of_rule}  backendRefs:\n  - name: v1\n    port: 80\n    {of_backend}")).rule;
    for filters in [&rule.filters, &rule.route()[0].filters] {
        let text =
            |(name, value): &(http::HeaderName, http::HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        assert_eq!(filters.request.set.iter().map(text).collect::<Vec<_>>(), ["a: b"]);
        assert_eq!(filters.request.add.iter().map(text).collect::<Vec<_>>(), ["c: d"]);
        assert_eq!(filters.request.remove, ["e"]);
        assert_eq!(filters.response.set.iter().map(text).collect::<Vec<_>>(), ["f: g"]);
        let rewrite = filters.rewrite.as_ref().unwrap();
        assert_eq!(rewrite.authority.as_ref().unwrap(), "other.example.com");
        assert_eq!(rewrite.path, Some(PathChange::Full("/h".into())));
        let shares: Vec<_> = filters.mirrors.iter().map(|mirror| mirror.share).collect();
        assert_eq!(shares, [Share(250_000), Share(333_333)]);
        let cors = filters.cors.as_ref().unwrap();
        assert_eq!(cors.origins, [StringMatch::Exact("https://a.com".into())]);
        assert_eq!((cors.any_method, cors.any_expose, cors.credentials), (true, true, true));
        assert_eq!(cors.headers, ["x-a"]);
        assert_eq!(cors.max_age, Some(Duration::from_secs(60)));
        assert!(!cors.forward_unmatched);
    }
}

#[test]
fn redirects_are_read_with_their_defaults() {
    let redirect = |filter: &str| {
        let rule = rule(&format!(
            "- matches: [{{path: {{value: /old}}}}]\n  filters:\n  - type: RequestRedirect\n    requestRedirect: {filter}\n"
        ));
        let HttpAction::Redirect(redirect) = rule.rule.action else { panic!() };
        redirect
    };
    let plain =
        Redirect { status: StatusCode::FOUND, scheme: None, host: None, port: RedirectPort::Derived, path: None };
    assert_eq!(redirect("{hostname: a.com}"), Redirect { host: Some("a.com".into()), ..plain.clone() });
    let fixed = redirect("{scheme: https, port: 8443, statusCode: 308}");
    let port = RedirectPort::Fixed(8443);
    assert_eq!(
        fixed,
        Redirect { status: StatusCode::PERMANENT_REDIRECT, scheme: Some("https".into()), port, ..plain.clone() }
    );
    let path = redirect("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}").path;
    assert_eq!(path, Some(PathChange::PathPrefix("/new".into())));
    assert_eq!(
        redirect("{path: {type: ReplaceFullPath, replaceFullPath: ''}}").path,
        Some(PathChange::Full("/".into()))
    );
}

#[test]
fn times_and_retries_are_read() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let timed = |text: &str| rule(&format!("- {text}\n{TO}")).rule;
    let both = timed("timeouts: {request: 10s, backendRequest: 2s}");
    assert_eq!(both.timeout, seconds(10));
    let retry = both.retry.unwrap();
    assert_eq!((retry.attempts, retry.per_try), (0, seconds(2)));
    let none = timed("timeouts: {request: 0s, backendRequest: 0s}");
    assert_eq!((none.timeout, none.retry), (None, None));
    let retry = timed("retry: {codes: [500, 429], attempts: 3, backoff: 100ms}").retry.unwrap();
    assert_eq!((retry.attempts, retry.per_try, retry.backoff), (3, None, Some(Duration::from_millis(100))));
    assert_eq!(retry.on.statuses, [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TOO_MANY_REQUESTS]);
    assert!(retry.on.connect_failure && retry.on.refused_stream && !retry.on.reset);
    assert_eq!(timed("retry: {attempts: 0}").retry.unwrap().attempts, 0);
}

#[test]
fn grpc_methods_are_paths() {
    for (method, takes, leaves) in [
        ("{service: shop.v1.Orders, method: Place}", "/shop.v1.Orders/Place", "/shop.v1.Orders/Placed"),
        ("{service: shop.v1.Orders}", "/shop.v1.Orders/Any", "/shop.v1.OrdersOther/Any"),
        ("{method: Place}", "/any.Service/Place", "/any.Service/Placed"),
        ("{type: RegularExpression, service: 'shop.*', method: 'P.*'}", "/shop.v1.Orders/Place", "/shop.v1.Orders/xP"),
        ("{type: RegularExpression, method: 'A|B'}", "/any/B", "/any/C"),
    ] {
        let rules = format!("- matches: [{{method: {method}}}]\n{TO}");
        let (findings, object) =
            read(&route("GRPCRoute", "shop/route", "{group: '', kind: Service, name: books}", &rules));
        assert_findings(&findings, &[]);
        let object = object.unwrap();
        let uri = requests(&object)[0].rule.matches[0].uri.clone().unwrap();
        let taken = |path: &str| match &uri {
            StringMatch::Exact(exact) => **exact == *path,
            StringMatch::Prefix(prefix) => path.starts_with(&**prefix),
            StringMatch::Regex(pattern) => pattern.is_match(path),
            _ => false,
        };
        assert!(taken(takes) && !taken(leaves), "{method}");
    }
}

#[test]
fn every_method_of_the_specification_is_one() {
    for method in [Method::GET, Method::CONNECT, Method::TRACE, Method::PATCH] {
        let rule = rule(&format!("- matches: [{{method: {method}}}]\n{TO}")).rule;
        assert_eq!(rule.matches[0].method, Some(StringMatch::Exact(method.as_str().into())));
    }
}
