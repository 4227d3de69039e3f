//! BackendTLSPolicy.

use super::super::{Dir, assert_findings, backend_tls_policies};
use super::Mesh;
use crate::model::BackendTlsPolicy;
use crate::model::traffic_policy::{ClientTls, ClientTlsMode, Roots, SubjectName};

fn policy(name: &str, target: &str, validation: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  \
         targetRefs: [{target}]\n  validation: {validation}\n"
    )
}

fn read(text: &str) -> (Vec<String>, Option<BackendTlsPolicy>) {
    let dir = Dir::new(&[("f.yaml", text)]);
    (dir.findings(), backend_tls_policies(&dir.read()).pop())
}

const BOOKS: &str = "{group: '', kind: Service, name: books}";
const SYSTEM: &str = "{hostname: books.example.com, wellKnownCACertificates: System}";

/// TLS to the endpoints of a port of the books.
fn tls(mesh: &Mesh, port: u16) -> Option<ClientTls> {
    let host = "books.shop.svc.cluster.local".into();
    let backends = mesh.snapshot.routes.backends(&host).unwrap();
    backends.port(port).unwrap().whole.policy.tls.clone()
}

#[test]
fn every_field_is_read() {
    let validation = "{hostname: a.com, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], subjectAltNames: \
                      [{type: Hostname, hostname: '*.b.com'}, {type: URI, uri: 'spiffe://c/d'}]}";
    let (findings, object) = read(&policy("p", BOOKS, validation));
    assert_findings(&findings, &[]);
    let object = object.unwrap();
    let tls = object.tls;
    assert_eq!((tls.mode, tls.sni.as_deref()), (ClientTlsMode::Simple, Some("a.com")));
    assert_eq!(tls.names, [SubjectName::Dns("*.b.com".into()), SubjectName::Uri("spiffe://c/d".into())]);
    assert!(matches!(tls.roots, Roots::ConfigMap(id) if id.to_string() == "shop/ca"));
}

#[test]
fn mistakes_are_placed() {
    for (target, validation, expected, read_as) in [
        (BOOKS, "{hostname: a.com}", "error missing-field f.yaml:8:3 spec.validation: names no CA", false),
        (
            BOOKS,
            "{wellKnownCACertificates: System}",
            "error missing-field f.yaml:8:3 spec.validation: `hostname` is missing",
            false,
        ),
        (
            BOOKS,
            "{hostname: a.com, wellKnownCACertificates: a/b}",
            "error unsupported-value f.yaml:8:58 spec.validation.wellKnownCACertificates: `a/b` is not a set of CA",
            true,
        ),
        (
            BOOKS,
            "{hostname: a.com, caCertificateRefs: [{group: a, kind: B, name: c}]}",
            "error invalid-kind f.yaml:8:53 spec.validation.caCertificateRefs[0]: CA certificates cannot be read from a B",
            true,
        ),
        (
            "{group: a, kind: B, name: c}",
            SYSTEM,
            "warning unsupported-target f.yaml:7:16 spec.targetRefs[0]: B cannot be a target: only a Service can",
            true,
        ),
    ] {
        let (findings, object) = read(&policy("p", target, validation));
        assert_findings(&findings, &[expected]);
        assert_eq!(object.is_some(), read_as, "{validation}");
    }
}

#[test]
fn a_policy_is_in_force_at_the_ports_that_it_is_for() {
    let mut mesh = Mesh::new(&policy("whole", BOOKS, SYSTEM));
    assert_eq!(tls(&mesh, 80).unwrap().sni.as_deref(), Some("books.example.com"));
    let section = "{group: '', kind: Service, name: books, sectionName: http-alt}";
    let mut both = policy("whole", BOOKS, SYSTEM);
    both += "---\n";
    both += &policy("part", section, "{hostname: alt.example.com, wellKnownCACertificates: System}");
    mesh.write("f.yaml", &both);
    assert_eq!(tls(&mesh, 80).unwrap().sni.as_deref(), Some("books.example.com"));
    assert_eq!(tls(&mesh, 81).unwrap().sni.as_deref(), Some("alt.example.com"));
    let accepted = "Accepted=True Accepted, ResolvedRefs=True ResolvedRefs";
    let lines = ["part", "whole"].map(|name| format!("BackendTLSPolicy shop/{name} 0 {accepted}"));
    assert_eq!(mesh.status(), lines);
    mesh.write("f.yaml", "# gone\n");
    assert_eq!(tls(&mesh, 80), None);
}

#[test]
fn of_two_policies_for_one_target_the_older_is_in_force() {
    let old = policy("z", BOOKS, SYSTEM)
        .replace("  namespace: shop\n", "  namespace: shop\n  creationTimestamp: 2020-01-01T00:00:00Z\n");
    let new = policy("a", BOOKS, "{hostname: new.example.com, wellKnownCACertificates: System}");
    let mesh = Mesh::new(&format!("{old}---\n{new}"));
    assert_eq!(tls(&mesh, 80).unwrap().sni.as_deref(), Some("books.example.com"));
    assert_eq!(mesh.status()[0], "BackendTLSPolicy shop/a 0 Accepted=False Conflicted, ResolvedRefs=True ResolvedRefs");
    assert!(mesh.findings.iter().any(|line| line.contains(" conflict ")), "{:?}", mesh.findings);
}

#[test]
fn a_policy_that_cannot_be_applied_says_why() {
    for (target, validation, status) in [
        (
            "{group: '', kind: Service, name: none}",
            SYSTEM,
            "Accepted=False TargetNotFound, ResolvedRefs=True ResolvedRefs",
        ),
        (
            "{group: '', kind: Service, name: books, sectionName: no}",
            SYSTEM,
            "Accepted=False TargetNotFound, ResolvedRefs=True ResolvedRefs",
        ),
        (
            BOOKS,
            "{hostname: a.com, wellKnownCACertificates: a/b}",
            "Accepted=False Invalid, ResolvedRefs=True ResolvedRefs",
        ),
        (
            BOOKS,
            "{hostname: a.com, caCertificateRefs: [{group: a, kind: B, name: c}]}",
            "Accepted=False NoValidCACertificate, ResolvedRefs=False InvalidKind",
        ),
    ] {
        let mesh = Mesh::new(&policy("p", target, validation));
        assert_eq!(mesh.status(), [format!("BackendTLSPolicy shop/p 0 {status}")], "{target} {validation}");
    }
}
