//! The conditions of routes.

use super::{Mesh, http_route, route, service};

const BOOKS: &str = "{group: '', kind: Service, name: books}";
const TO_V1: &str = "- backendRefs: [{name: v1, port: 80}]\n";

#[test]
fn conditions_are_those_of_the_specification() {
    let accepted = "Accepted=True Accepted";
    let resolved = "ResolvedRefs=True ResolvedRefs";
    let no_parent = "Accepted=False NoMatchingParent";
    for (parent, rules, expected) in [
        (BOOKS, TO_V1, format!("{accepted}, {resolved}")),
        ("{group: '', kind: Service, name: none}", TO_V1, format!("{no_parent}, {resolved}")),
        ("{group: '', kind: Service, name: books, port: 7}", TO_V1, format!("{no_parent}, {resolved}")),
        ("{group: '', kind: Service, name: books, sectionName: no}", TO_V1, format!("{no_parent}, {resolved}")),
        ("{group: '', kind: Service, name: books, port: 90}", TO_V1, format!("{no_parent}, {resolved}")),
        ("{group: networking.istio.io, kind: ServiceEntry, name: a}", TO_V1, format!("{no_parent}, {resolved}")),
        (BOOKS, "- backendRefs: [{name: no, port: 80}]\n", format!("{accepted}, ResolvedRefs=False BackendNotFound")),
        (BOOKS, "- backendRefs: [{name: v1, port: 8}]\n", format!("{accepted}, ResolvedRefs=False BackendNotFound")),
        (
            BOOKS,
            "- backendRefs: [{group: a, kind: B, name: c}]\n",
            format!("{accepted}, ResolvedRefs=False InvalidKind"),
        ),
        (
            BOOKS,
            "- backendRefs: [{name: films, namespace: media, port: 80}]\n",
            format!("{accepted}, ResolvedRefs=False RefNotPermitted"),
        ),
        (
            BOOKS,
            "- filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]\n  backendRefs: [{name: v1, port: 80}]\n",
            format!("{accepted}, ResolvedRefs=False InvalidKind"),
        ),
    ] {
        let mesh = Mesh::new(&route("HTTPRoute", "shop/r", parent, rules));
        assert_eq!(mesh.status(), [format!("HTTPRoute shop/r 0 {expected}")], "{parent} {rules}");
    }
}

#[test]
fn a_route_that_another_kind_displaces_is_conflicted() {
    let grpc = route("GRPCRoute", "shop/grpc", BOOKS, TO_V1);
    let http = route("HTTPRoute", "shop/http", BOOKS, TO_V1);
    let mesh = Mesh::new(&format!("{http}---\n{grpc}"));
    assert_eq!(
        mesh.status(),
        [
            "GRPCRoute shop/grpc 0 Accepted=True Accepted, ResolvedRefs=True ResolvedRefs",
            "HTTPRoute shop/http 0 Accepted=False Conflicted, ResolvedRefs=True ResolvedRefs",
        ]
    );
    assert!(
        mesh.findings.iter().any(|line| line.contains("conflict f.yaml:8:5 HTTPRoute shop/http has no effect here"))
    );
}

#[test]
fn each_parent_has_a_status_and_gateways_are_others_business() {
    let parents = format!("{BOOKS}\n  - {{name: gateway}}\n  - {{group: '', kind: Service, name: v2}}");
    let mut mesh = Mesh::new(&route("HTTPRoute", "shop/r", &parents, TO_V1));
    let accepted = "Accepted=True Accepted, ResolvedRefs=True ResolvedRefs";
    assert_eq!(mesh.status(), [format!("HTTPRoute shop/r 0 {accepted}"), format!("HTTPRoute shop/r 2 {accepted}")]);
    mesh.write("f.yaml", "# gone\n");
    assert_eq!(mesh.status(), Vec::<String>::new());
}

#[test]
fn a_headless_service_is_no_parent() {
    let headless = service("shop/bare", "None", &["80/http"], Some("10.0.0.40"));
    let route = route("HTTPRoute", "shop/r", "{group: '', kind: Service, name: bare}", TO_V1);
    let mesh = Mesh::new(&(route + &headless));
    assert_eq!(mesh.status(), ["HTTPRoute shop/r 0 Accepted=False NoMatchingParent, ResolvedRefs=True ResolvedRefs"]);
}

#[test]
fn the_dump_is_what_a_cluster_is_told() {
    let text = http_route(TO_V1).replace("  namespace: shop\n", "  namespace: shop\n  generation: 3\n");
    let dump = Mesh::new(&text).snapshot.statuses.dump();
    let parent = &dump[0]["status"]["parents"][0];
    assert_eq!(dump[0]["kind"], "HTTPRoute");
    assert_eq!(parent["controllerName"], "underpass.io/mesh-controller");
    assert_eq!(parent["parentRef"], serde_json::json!({"group": "", "kind": "Service", "name": "books"}));
    assert_eq!(parent["conditions"][0]["observedGeneration"], 3);
}
