//! Which of the rules of several routes takes a request.

use super::{Mesh, http_route, route};

/// An HTTPRoute of the books with one rule for these matches, which leads to `to`.
fn leads(name: &str, matches: &str, to: &str) -> String {
    let rules = format!("- matches: [{matches}]\n  backendRefs: [{{name: {to}, port: 80}}]\n");
    format!("---\n{}", http_route(&rules).replace("name: route", &format!("name: {name}")))
}

fn created(route: &str, at: &str) -> String {
    route.replace("  namespace: shop\n", &format!("  namespace: shop\n  creationTimestamp: {at}\n"))
}

#[test]
fn the_most_specific_match_of_all_routes_takes_the_request() {
    for (less, more, request) in [
        ("{path: {value: /a}}", "{path: {type: Exact, value: /a}}", "/a"),
        ("{path: {value: /a}}", "{path: {value: /a/b}}", "/a/b/c"),
        ("{path: {value: /}}", "{path: {type: RegularExpression, value: '/[a-z]'}}", "/a"),
        ("{path: {type: RegularExpression, value: '/[a-z]'}}", "{path: {type: Exact, value: /a}}", "/a"),
        ("{path: {value: /a}}", "{path: {value: /a}, method: GET}", "/a"),
        ("{path: {value: /a}, method: GET}", "{path: {value: /a/b}}", "/a/b"),
        ("{path: {value: /a}, headers: [{name: x, value: y}]}", "{path: {value: /a}, method: GET}", "/a x:y"),
        ("{headers: [{name: x, value: y}]}", "{headers: [{name: x, value: y}, {name: z, value: y}]}", "/ x:y z:y"),
    ] {
        // The name that comes first decides nothing where one match is more specific.
        for (first, second) in [("a", "b"), ("b", "a")] {
            let routes = leads(first, less, "v1") + &leads(second, more, "v2");
            assert_eq!(Mesh::new(&routes).get(request), "v2:80", "{less} {more}");
        }
    }
}

#[test]
fn ties_go_to_the_oldest_route_then_to_the_first_name() {
    let everything = "{path: {value: /}}";
    let (a, b) = (leads("a", everything, "v1"), leads("b", everything, "v2"));
    let (early, late) = ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
    for (routes, taken) in [
        (b.clone() + &a, "v1:80"),
        (created(&a, late) + &created(&b, early), "v2:80"),
        (a.clone() + &created(&b, late), "v2:80"),
        (created(&a, early) + &created(&b, early), "v1:80"),
    ] {
        assert_eq!(Mesh::new(&routes).get("/"), taken, "{routes}");
    }
}

#[test]
fn ties_in_a_route_go_to_the_first_rule() {
    let rules = "- backendRefs: [{name: v1, port: 80}]\n- backendRefs: [{name: v2, port: 80}]\n";
    assert_eq!(Mesh::new(&http_route(rules)).get("/"), "v1:80");
}

#[test]
fn a_rule_with_several_matches_has_a_place_for_each() {
    let wide = leads("a", "{path: {value: /}}, {path: {value: /a/b/c}}", "v1");
    let narrow = leads("b", "{path: {value: /a/b}}", "v2");
    let mut mesh = Mesh::new(&(wide + &narrow));
    for (path, taken) in [("/", "v1:80"), ("/a/b", "v2:80"), ("/a/b/x", "v2:80"), ("/a/b/c", "v1:80"), ("/x", "v1:80")]
    {
        assert_eq!(mesh.get(path), taken, "{path}");
    }
}

#[test]
fn a_request_that_no_rule_takes_is_not_found() {
    let mut mesh = Mesh::new(&leads("a", "{path: {value: /a}}", "v1"));
    assert_eq!(mesh.get("/a"), "v1:80");
    assert_eq!(mesh.get("/ab"), "404");
    assert_eq!(mesh.get("/"), "404");
}

#[test]
fn grpc_routes_are_ordered_by_service_then_method_then_headers() {
    let leads = |name: &str, matched: &str, to: &str| {
        let rules = format!("- matches: [{matched}]\n  backendRefs: [{{name: {to}, port: 80}}]\n");
        let id = format!("shop/{name}");
        format!("---\n{}", route("GRPCRoute", &id, "{group: '', kind: Service, name: books}", &rules))
    };
    for (less, more, request) in [
        ("{method: {method: Place}}", "{method: {service: a.B}}", "/a.B/Place"),
        ("{method: {service: a.B}}", "{method: {service: a.B, method: Place}}", "/a.B/Place"),
        ("{headers: [{name: x, value: y}]}", "{method: {service: a.B}}", "/a.B/Place x:y"),
        ("{method: {service: a.B}}", "{method: {service: a.B}, headers: [{name: x, value: y}]}", "/a.B/Place x:y"),
    ] {
        let routes = leads("a", less, "v1") + &leads("b", more, "v2");
        let mut mesh = Mesh::new(&routes);
        assert_eq!(mesh.ask("shop", "10.96.0.1:80", &format!("POST {request}")), "v2:80", "{less} {more}");
    }
}
