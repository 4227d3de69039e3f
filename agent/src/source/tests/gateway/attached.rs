//! Which routes are in force for which client at which port.

use super::{Mesh, client, route, service};
use crate::route::{Plan, Spoken};
use crate::snapshot::fixtures::shown;

const BOOKS: &str = "{group: '', kind: Service, name: books}";

fn to(name: &str) -> String {
    format!("- backendRefs: [{{name: {name}, port: 80}}]\n")
}

fn all(routes: &[String]) -> String {
    routes.join("---\n")
}

fn virtual_service(to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: books, namespace: shop}}\nspec:\n  \
         hosts: [books]\n  http: [{{route: [{{destination: {{host: {to}}}}}]}}]\n"
    )
}

#[test]
fn a_consumer_route_comes_before_a_producer_route_before_a_virtual_service() {
    let consumer = route(
        "HTTPRoute",
        "client/r",
        "{group: '', kind: Service, name: books, namespace: shop}",
        "- backendRefs: [{name: v1, port: 80, namespace: shop}]\n",
    );
    let producer = route("HTTPRoute", "shop/r", BOOKS, &to("v2"));
    let istio = virtual_service("v3");
    for (objects, of_client, of_others) in [
        (vec![], "tcp books:80 10.0.0.1:1080", "tcp books:80 10.0.0.1:1080"),
        (vec![&istio], "v3:80", "v3:80"),
        (vec![&istio, &producer], "v2:80", "v2:80"),
        (vec![&istio, &consumer], "v1:80", "v3:80"),
        (vec![&istio, &producer, &consumer], "v1:80", "v2:80"),
    ] {
        let objects: Vec<String> = objects.into_iter().cloned().collect();
        let mut mesh = Mesh::new(&all(&objects));
        for (namespace, expected) in [("client", of_client), ("shop", of_others), ("other", of_others)] {
            let found = mesh.ask(namespace, "10.96.0.1:80", "GET /");
            assert!(found == expected || (expected.starts_with("tcp") && found == "books:80"), "{namespace}: {found}");
        }
    }
}

#[test]
fn both_apis_for_one_port_is_said() {
    let producer = route("HTTPRoute", "shop/r", BOOKS, &to("v2"));
    let mesh = Mesh::new(&all(&[producer, virtual_service("v3")]));
    let said = mesh.findings.iter().filter(|line| line.contains("HTTPRoute shop/r is in force")).count();
    assert_eq!(said, 1, "{:?}", mesh.findings);
}

#[test]
fn a_route_is_for_the_ports_that_it_names() {
    for (parent, http, alt, raw) in [
        ("", "v1:80", "v1:80", "tcp books:90 10.0.0.1:1090"),
        (", port: 80", "v1:80", "other", "tcp books:90 10.0.0.1:1090"),
        (", sectionName: http-alt", "other", "v1:80", "tcp books:90 10.0.0.1:1090"),
        (", port: 80, sectionName: http", "v1:80", "other", "tcp books:90 10.0.0.1:1090"),
        (", port: 80, sectionName: http-alt", "other", "other", "tcp books:90 10.0.0.1:1090"),
    ] {
        let parent = BOOKS.replace('}', &format!("{parent}}}"));
        let mut mesh = Mesh::new(&route("HTTPRoute", "shop/r", &parent, &to("v1")));
        for (port, expected) in [(80, http), (81, alt), (90, raw)] {
            let found = mesh.ask("shop", &format!("10.96.0.1:{port}"), "GET /");
            let own = found == format!("books:{port}") || found.starts_with(&format!("tcp books:{port}"));
            assert!(found == expected || (expected == "other" && own), "{parent} {port}: {found}");
        }
    }
}

#[test]
fn of_several_kinds_at_a_port_the_first_kind_is_in_force() {
    let grpc = route("GRPCRoute", "shop/grpc", &BOOKS.replace('}', ", port: 80}"), &to("v1"));
    let http = route("HTTPRoute", "shop/http", BOOKS, &to("v2"));
    let tcp = route("TCPRoute", "shop/tcp", BOOKS, &to("v3"));
    let mut mesh = Mesh::new(&all(&[tcp, http, grpc]));
    assert_eq!(mesh.get("/"), "v1:80");
    assert_eq!(mesh.ask("shop", "10.96.0.1:81", "GET /"), "v2:80");
    assert_eq!(mesh.ask("shop", "10.96.0.1:90", "GET /"), "tcp v3:80 10.0.0.13:1080");
}

#[test]
fn a_route_of_connections_leaves_requests_to_a_virtual_service() {
    let tcp = route("TCPRoute", "shop/tcp", BOOKS, &to("v1"));
    let mut mesh = Mesh::new(&tcp);
    assert_eq!(mesh.ask("shop", "10.96.0.1:80", "GET /"), "tcp v1:80 10.0.0.11:1080");
    mesh.write("istio.yaml", &virtual_service("v3"));
    assert_eq!(mesh.get("/"), "v3:80");
    assert_eq!(mesh.ask("shop", "10.96.0.1:90", "GET /"), "tcp v1:80 10.0.0.11:1080");
}

#[test]
fn a_route_takes_requests_of_a_port_that_does_not_say_what_it_speaks() {
    let mut mesh = Mesh::new(&route("HTTPRoute", "shop/r", BOOKS, &to("v1")));
    assert!(matches!(mesh.connect("shop", "10.96.0.1:99"), Plan::Undecided(_)));
    assert_eq!(mesh.ask("shop", "10.96.0.1:99", "GET /"), "v1:80");
}

#[test]
fn the_name_that_a_server_is_asked_for_decides_among_tls_routes() {
    let named = |id: &str, names: &str, service: &str| {
        let text = route("TLSRoute", id, &BOOKS.replace('}', ", port: 90}"), &to(service));
        text.replace("spec:\n", &format!("spec:\n  hostnames: [{names}]\n"))
    };
    let wide = named("shop/a", "'*.example.com'", "v1");
    let narrow = named("shop/b", "'*.b.example.com'", "v2");
    let exact = named("shop/c", "c.b.example.com", "v3");
    let mut mesh = Mesh::new(&all(&[wide, narrow, exact]));
    for (name, found) in [
        ("x.example.com", "tcp v1:80 10.0.0.11:1080"),
        ("x.b.example.com", "tcp v2:80 10.0.0.12:1080"),
        ("c.b.example.com", "tcp v3:80 10.0.0.13:1080"),
        ("other.com", "refused NR no TLS rule for books.shop.svc.cluster.local takes this connection: other.com"),
    ] {
        let Plan::Undecided(undecided) = mesh.connect("shop", "10.96.0.1:90") else { panic!() };
        let mut rng = fastrand::Rng::with_seed(1);
        let plan = undecided.heard(&Spoken::Tls(Some(name.into())), &client("shop"), &mut rng);
        assert_eq!(shown(&plan), found, "{name}");
    }
}

#[test]
fn a_backend_that_is_not_there_fails_for_its_share() {
    let rules = "- matches: [{path: {value: /half}}]\n  backendRefs: [{name: v1, port: 80}, {name: none, port: 80}]\n\
                 - matches: [{path: {value: /none}}]\n  backendRefs: [{name: none, port: 80}]\n\
                 - matches: [{path: {value: /port}}]\n  backendRefs: [{name: v1, port: 81}]\n\
                 - matches: [{path: {value: /kind}}]\n  backendRefs: [{group: a.io, kind: B, name: c}]\n\
                 - matches: [{path: {value: /asleep}}]\n  backendRefs: [{name: asleep, port: 80}]\n\
                 - matches: [{path: {value: /nothing}}]\n";
    let mut mesh = Mesh::new(&route("HTTPRoute", "shop/r", BOOKS, rules));
    for (path, status) in
        [("/none", "500"), ("/port", "500"), ("/kind", "500"), ("/asleep", "503"), ("/nothing", "500")]
    {
        assert_eq!(mesh.get(path), status, "{path}");
    }
    let failed = (0..1000).filter(|_| mesh.get("/half") == "500").count();
    assert!((400..600).contains(&failed), "{failed} of 1000");
    mesh.write("more.yaml", &service("shop/none", "10.96.0.30", &["80/http"], Some("10.0.0.30")));
    assert_eq!(mesh.get("/none"), "none:80");
}

#[test]
fn a_grant_opens_a_namespace_while_it_is_there() {
    let rules = "- backendRefs: [{name: films, namespace: media, port: 80}]\n";
    let grant = |from: &str, to: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: media}}\nspec:\n  \
             from: [{{group: gateway.networking.k8s.io, kind: {from}}}]\n  to: [{{group: '', kind: Service{to}}}]\n"
        )
    };
    let mut mesh = Mesh::new(&route("HTTPRoute", "shop/r", BOOKS, rules));
    for (grant, found) in [
        ("# none\n".to_owned(), "500"),
        (grant("HTTPRoute, namespace: shop", ""), "films:80"),
        (grant("HTTPRoute, namespace: shop", ", name: films"), "films:80"),
        (grant("HTTPRoute, namespace: shop", ", name: other"), "500"),
        (grant("HTTPRoute, namespace: other", ""), "500"),
        (grant("GRPCRoute, namespace: shop", ""), "500"),
        (grant("HTTPRoute, namespace: shop", ""), "films:80"),
        ("# none again\n".to_owned(), "500"),
    ] {
        mesh.write("grant.yaml", &grant);
        assert_eq!(mesh.get("/"), found, "{grant}");
        assert_eq!(
            mesh.findings.iter().any(|line| line.contains("not-granted")),
            found == "500",
            "{:?}",
            mesh.findings
        );
    }
}

#[test]
fn one_change_costs_the_services_that_it_concerns() {
    let routes: Vec<_> = (0..50)
        .map(|n| route("HTTPRoute", &format!("ns{n}/r"), "{group: '', kind: Service, name: s}", &to("b")))
        .collect();
    let services: Vec<_> = (0..50)
        .map(|n| {
            let service = |name: &str, net: u8| {
                service(
                    &format!("ns{n}/{name}"),
                    &format!("10.97.{net}.{n}"),
                    &["80/http"],
                    Some(&format!("10.1.{net}.{n}")),
                )
            };
            service("s", 1) + &service("b", 2)
        })
        .collect();
    let mut mesh = Mesh::new(&all(&routes));
    let work = mesh.write("services.yaml", &services.concat());
    assert_eq!(work.attached, 50);
    let changed = services[7].replace("10.1.2.7", "10.1.3.7");
    mesh.write("services.yaml", &(services[..7].concat() + &services[8..].concat()));
    mesh.write("seven.yaml", &services[7]);
    assert_eq!(mesh.write("seven.yaml", &changed).attached, 1);
    assert_eq!(mesh.write("lone.yaml", &service("x/lone", "10.98.0.1", &["80/http"], None)).attached, 0);
    let one = routes[7].replace("name: r\n", "name: other\n");
    assert_eq!(mesh.write("one.yaml", &one).attached, 1);
    assert_eq!(mesh.ask("ns7", "10.97.1.7:80", "GET /"), "b:80");
}
