//! What is wrong with a route, where, and what becomes of it.

use super::super::assert_findings;
use super::{http_route, read, route};

const TO: &str = "  backendRefs: [{name: v1, port: 80}]\n";
const PARENT: &str = "{group: '', kind: Service, name: books}";

/// Nothing but this error is said, and there is no route.
#[track_caller]
fn refused(rules: &str, expected: &str) {
    let (findings, object) = read(&http_route(rules));
    assert_findings(&findings, &[&format!("error {expected}")]);
    assert!(object.is_none(), "{rules}");
}

#[test]
fn matches_that_the_api_server_would_refuse_refuse_the_route() {
    let one = |one: &str| format!("- matches: [{one}]\n{TO}");
    for (rules, expected) in [
        (
            "- backendRef: []\n".to_owned(),
            "unknown-field f.yaml:10:5 spec.rules[0].backendRef: there is no such field; did you mean `backendRefs`?",
        ),
        (
            one("{path: {type: Prefix, value: /}}"),
            "unsupported-value f.yaml:10:29 spec.rules[0].matches[0].path.type: `Prefix` is not a way to match",
        ),
        (one("{path: {value: a}}"), "invalid-path f.yaml:10:30 spec.rules[0].matches[0].path.value: `a` is not a path"),
        (
            one("{path: {value: /a//b}}"),
            "invalid-path f.yaml:10:30 spec.rules[0].matches[0].path.value: `/a//b` is not",
        ),
        (
            one("{path: {value: '/a b'}}"),
            "invalid-path f.yaml:10:30 spec.rules[0].matches[0].path.value: `/a b` is not",
        ),
        (one("{path: {type: Exact, value: /%4}}"), "invalid-path f.yaml:10:43 spec.rules[0].matches[0].path.value: "),
        (
            one("{path: {type: RegularExpression, value: '('}}"),
            "invalid-regex f.yaml:10:55 spec.rules[0].matches[0].path.value: `(` is not a regular expression",
        ),
        (one("{method: get}"), "unsupported-value f.yaml:10:24 spec.rules[0].matches[0].method: `get` is not a method"),
        (
            one("{headers: [{name: 'a b', value: c}]}"),
            "invalid-header f.yaml:10:33 spec.rules[0].matches[0].headers[0].name: `a b` is not a header name",
        ),
        (
            one("{headers: [{name: a}]}"),
            "missing-field f.yaml:10:26 spec.rules[0].matches[0].headers[0]: `value` is missing",
        ),
    ] {
        refused(&rules, expected);
    }
}

#[test]
fn filters_that_the_api_server_would_refuse_refuse_the_route() {
    let filter = |filter: &str| format!("- filters:\n  - {filter}\n{TO}");
    for (rules, expected) in [
        (
            filter("type: Teapot"),
            "unsupported-value f.yaml:11:13 spec.rules[0].filters[0].type: `Teapot` is not a type",
        ),
        (filter("type: CORS"), "missing-field f.yaml:11:7 spec.rules[0].filters[0]: `cors` is missing"),
        (
            filter("type: URLRewrite\n    urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}"),
            "invalid-value f.yaml:12:20 spec.rules[0].filters[0].urlRewrite.path: replaces the prefix that was matched",
        ),
        (
            filter("type: RequestRedirect\n    requestRedirect: {statusCode: 304}").replace(TO, ""),
            "unsupported-value f.yaml:12:37 spec.rules[0].filters[0].requestRedirect.statusCode: 304 is not a status",
        ),
        (
            filter("type: RequestRedirect\n    requestRedirect: {scheme: https}"),
            "incompatible-filters f.yaml:13:5 spec.rules[0].backendRefs: answers with a redirect",
        ),
        (
            filter("type: RequestMirror\n    requestMirror: {backendRef: {name: a, port: 1}, percent: 101}"),
            "out-of-range f.yaml:12:64 spec.rules[0].filters[0].requestMirror.percent: 101 of 100 is not a share",
        ),
        (
            filter(
                "type: RequestHeaderModifier\n    requestHeaderModifier: {remove: [a]}\n  - type: RequestHeaderModifier\n    requestHeaderModifier: {remove: [b]}",
            ),
            "duplicate-filter f.yaml:13:13 spec.rules[0].filters[1].type: there is another RequestHeaderModifier",
        ),
    ] {
        refused(&rules, expected);
    }
}

#[test]
fn rules_that_the_api_server_would_refuse_refuse_the_route() {
    for (rules, expected) in [
        (
            "- backendRefs: [{name: v1}]\n".to_owned(),
            "missing-field f.yaml:10:19 spec.rules[0].backendRefs[0]: `port` is missing",
        ),
        (
            "- backendRefs: [{name: v1, port: 80, weight: -1}]\n".to_owned(),
            "invalid-weight f.yaml:10:48 spec.rules[0].backendRefs[0].weight: -1 is not a weight",
        ),
        (
            format!("- timeouts: {{request: 1s, backendRequest: 2s}}\n{TO}"),
            "invalid-value f.yaml:10:45 spec.rules[0].timeouts.backendRequest: is longer than",
        ),
        (
            format!("- timeouts: {{request: 1.5s}}\n{TO}"),
            "invalid-duration f.yaml:10:25 spec.rules[0].timeouts.request: `1.5s` is not a duration such as 10s",
        ),
        (
            format!("- retry: {{codes: [200]}}\n{TO}"),
            "out-of-range f.yaml:10:21 spec.rules[0].retry.codes[0]: 200 is not",
        ),
        (
            format!("- name: a\n{TO}- name: a\n{TO}"),
            "duplicate-rule f.yaml:12:11 spec.rules[1].name: the rule `a` is here twice",
        ),
    ] {
        refused(&rules, expected);
    }
}

#[test]
fn what_cannot_be_done_fails_for_what_it_concerns() {
    for (rules, expected, broken) in [
        (
            format!("- filters:\n  - type: ExtensionRef\n    extensionRef: {{group: a.io, kind: B, name: c}}\n{TO}"),
            "error unsupported-filter f.yaml:12:7 spec.rules[0].filters[0].extensionRef: ExtensionRef filters are not supported and may not be skipped: requests of this rule get 500",
            Some("the filter ExtensionRef is not supported"),
        ),
        (
            "- name: nothing\n".to_owned(),
            "warning missing-backend f.yaml:10:5 spec.rules[0]: `backendRefs` is missing: its requests get 500",
            Some("it names no backend"),
        ),
        (
            "- backendRefs: [{name: v1, port: 80, weight: 0}]\n".to_owned(),
            "warning weights f.yaml:10:5 spec.rules[0].backendRefs: all weights are 0: its requests get 500",
            Some("all weights are 0"),
        ),
        (
            "- backendRefs: [{group: a.io, kind: Bucket, name: b}, {name: v1, port: 80}]\n".to_owned(),
            "error invalid-kind f.yaml:10:19 spec.rules[0].backendRefs[0]: Bucket of a.io is not a kind that traffic can be sent to: use a Service",
            None,
        ),
        (
            format!("- sessionPersistence: {{sessionName: a}}\n{TO}"),
            "warning unsupported-field f.yaml:10:5 spec.rules[0].sessionPersistence: is not supported and is ignored",
            None,
        ),
    ] {
        let (findings, object) = read(&http_route(&rules));
        assert_findings(&findings, &[expected]);
        let object = object.expect("a route");
        let crate::model::gateway_route::RouteRules::Requests(rules) = &object.rules else { panic!() };
        assert_eq!(rules[0].rule.broken.as_deref(), broken);
    }
}

#[test]
fn parents_are_services() {
    let rules = "- backendRefs: [{name: v1, port: 80}]\n";
    for (parent, expected, read_as) in [
        (PARENT, vec![], true),
        ("{group: core, kind: Service, name: books}", vec![], true),
        (
            "{kind: Service, name: books}",
            vec!["warning missing-group f.yaml:8:5 spec.parentRefs[0]: `group: \"\"` is missing"],
            true,
        ),
        (
            "{group: networking.istio.io, kind: ServiceEntry, name: a}",
            vec![
                "error unsupported-parent f.yaml:8:5 spec.parentRefs[0]: routes cannot be attached to a ServiceEntry of networking.istio.io",
            ],
            true,
        ),
        (
            "{name: gateway}",
            vec!["warning gateway-route f.yaml:7:3 spec.parentRefs: is for gateways, which are not supported yet"],
            false,
        ),
        (
            "{group: '', kind: Service, name: books, port: 80}\n  - {group: '', kind: Service, name: books}",
            vec!["error duplicate-parent f.yaml:9:5 spec.parentRefs[1]: another one refers to the same parent"],
            false,
        ),
        (
            "{group: '', kind: Service, name: books, port: 80}\n  - {group: '', kind: Service, name: books, port: 81}",
            vec![],
            true,
        ),
        (
            "{group: '', kind: Service, name: books, port: 0}",
            vec!["error invalid-port f.yaml:8:51 spec.parentRefs[0].port: 0 is not a port"],
            false,
        ),
    ] {
        let (findings, object) = read(&route("HTTPRoute", "shop/route", parent, rules));
        assert_findings(&findings, &expected);
        assert_eq!(object.is_some(), read_as, "{parent}");
    }
}

#[test]
fn hostnames_have_no_effect_in_the_mesh() {
    let text = http_route(&format!("- name: a\n{TO}")).replace("spec:\n", "spec:\n  hostnames: [a.com]\n");
    let (findings, object) = read(&text);
    assert_findings(&findings, &["warning ignored-field f.yaml:7:3 spec.hostnames: has no effect in the mesh"]);
    assert!(object.is_some());
}

#[test]
fn a_grpc_route_has_no_filters_of_http() {
    let rules = format!("- filters:\n  - type: URLRewrite\n{TO}");
    let (findings, object) = read(&route("GRPCRoute", "shop/route", PARENT, &rules));
    assert_findings(
        &findings,
        &["error unsupported-value f.yaml:11:13 spec.rules[0].filters[0].type: `URLRewrite` is not"],
    );
    assert!(object.is_none());
    let rules = format!("- filters:\n  - type: RequestMirror\n    urlRewrite: {{}}\n{TO}");
    let (findings, _) = read(&route("GRPCRoute", "shop/route", PARENT, &rules));
    assert_findings(
        &findings,
        &["error unknown-field f.yaml:12:7 spec.rules[0].filters[0].urlRewrite: there is no such field"],
    );
}

#[test]
fn routes_of_connections_have_one_rule() {
    let one = "- backendRefs: [{name: v1, port: 80}]\n";
    let (findings, object) = read(&route("TCPRoute", "shop/route", PARENT, one));
    assert_findings(&findings, &[]);
    assert!(object.is_some());
    let (findings, object) = read(&route("TCPRoute", "shop/route", PARENT, &format!("{one}{one}")));
    assert_findings(
        &findings,
        &["error too-many f.yaml:9:3 spec.rules: there are 2 of them, and at most 1 are allowed"],
    );
    assert!(object.is_none());
    let (findings, _) = read(&route("TCPRoute", "shop/route", PARENT, "- name: a\n"));
    assert_findings(&findings, &["error missing-field f.yaml:10:5 spec.rules[0]: `backendRefs` is missing"]);
    let (findings, _) = read(&route("TLSRoute", "shop/route", PARENT, one));
    assert_findings(&findings, &["error missing-field f.yaml:6:1 spec: `hostnames` is missing"]);
}
