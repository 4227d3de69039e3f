//! PeerAuthentication's precedence, as Istio documents it.

use super::denied;
use crate::model::MtlsMode::{self, Disable, Permissive, Strict, Unset};
use crate::model::{PeerAuthentication, Scope};
use crate::policy::{Peer, Reason};
use crate::snapshot::fixtures::{World, authentication, labels, pod, pod_in, put};

fn mesh(mode: MtlsMode) -> PeerAuthentication {
    authentication("istio-system/mesh", Scope::Mesh, mode, &[])
}

fn namespace(mode: MtlsMode) -> PeerAuthentication {
    authentication("shop/whole", Scope::Namespace, mode, &[])
}

fn workload(name: &str, mode: MtlsMode, ports: &[(u16, MtlsMode)]) -> PeerAuthentication {
    authentication(name, Scope::Workload(labels(&[("app", "books")])), mode, ports)
}

/// Who refuses plaintext to port 8080 of the pod `shop/books`.
fn refused_by(policies: Vec<PeerAuthentication>) -> Option<String> {
    let world = World::new(policies.into_iter().map(put).collect());
    let books = pod("shop/books", "10.0.0.1", &[("app", "books")]);
    let denied = denied(&world, &books, 8080, &Peer::Anonymous)?;
    assert_eq!(denied.reason, Reason::PlaintextRefused);
    Some(denied.rule.to_string())
}

fn check(cases: Vec<(Vec<PeerAuthentication>, Option<&str>)>) {
    for (policies, expected) in cases {
        let expected = expected.map(|name| format!("PeerAuthentication {name}"));
        assert_eq!(refused_by(policies.clone()), expected, "{policies:#?}");
    }
}

#[test]
fn the_narrowest_policy_that_says_something_decides() {
    let own = |mode| workload("shop/own", mode, &[]);
    check(vec![
        (vec![], None),
        (vec![mesh(Strict)], Some("istio-system/mesh")),
        (vec![mesh(Permissive)], None),
        (vec![mesh(Unset)], None),
        (vec![mesh(Strict), namespace(Permissive)], None),
        (vec![mesh(Strict), namespace(Disable)], None),
        (vec![mesh(Strict), namespace(Unset)], Some("istio-system/mesh")),
        (vec![mesh(Permissive), namespace(Strict)], Some("shop/whole")),
        (vec![namespace(Strict), own(Permissive)], None),
        (vec![namespace(Strict), own(Unset)], Some("shop/whole")),
        (vec![own(Strict)], Some("shop/own")),
    ]);
}

#[test]
fn a_port_of_a_workload_comes_before_the_workload() {
    let own = |mode, port, at_port| workload("shop/own", mode, &[(port, at_port)]);
    check(vec![
        (vec![own(Strict, 8080, Permissive)], None),
        (vec![own(Strict, 8080, Unset)], Some("shop/own")),
        (vec![own(Strict, 9090, Permissive)], Some("shop/own")),
        (vec![own(Permissive, 8080, Strict)], Some("shop/own")),
        (vec![mesh(Strict), own(Unset, 8080, Disable)], None),
        (vec![mesh(Strict), own(Unset, 9090, Disable)], Some("istio-system/mesh")),
    ]);
}

#[test]
fn of_several_that_select_a_workload_the_first_by_name_alone_is_asked() {
    let named = |name, mode| workload(name, mode, &[]);
    check(vec![
        (vec![named("shop/b", Strict), named("shop/a", Permissive)], None),
        (vec![named("shop/a", Unset), named("shop/b", Strict)], None),
        (vec![named("shop/b", Unset), named("shop/a", Strict)], Some("shop/a")),
    ]);
}

#[test]
fn policies_for_others_are_not_asked() {
    let till = Scope::Workload(labels(&[("app", "till")]));
    check(vec![
        (vec![workload("bank/own", Strict, &[])], None),
        (vec![authentication("bank/whole", Scope::Namespace, Strict, &[])], None),
        (vec![authentication("shop/till", till, Strict, &[])], None),
    ]);
}

#[test]
fn a_proven_peer_passes_strict_whether_by_certificate_or_by_its_own_namespace() {
    let world = World::new(vec![put(mesh(Strict))]);
    let books = pod("shop/books", "10.0.0.1", &[]);
    let identity = books.identity.clone();
    for peer in [Peer::Verified(identity.clone()), Peer::Local(identity)] {
        assert_eq!(denied(&world, &books, 80, &peer), None);
    }
}

#[test]
fn a_workload_of_another_cluster_is_not_ours_to_admit_to() {
    let world = World::new(vec![]);
    let books = pod_in("west", "shop/books", "10.0.0.1", &[]);
    let denied = denied(&world, &books, 80, &Peer::Anonymous);
    assert_eq!(denied.unwrap().reason, Reason::NotOurs);
}

#[test]
fn two_policies_for_one_whole_namespace_are_found() {
    let second = authentication("shop/zweite", Scope::Namespace, Strict, &[]);
    let world = World::new(vec![put(namespace(Permissive)), put(second)]);
    assert_eq!(world.codes(), ["conflict shop/zweite"]);
}
