//! Who is ended when policies change, and who is left alone.

use super::*;
use crate::model::authorization_policy::*;
use crate::model::{AuthorizationPolicy, Origin};
use crate::snapshot::fixtures::{World, labels, object_id, pod, put};
use std::pin::pin;

fn deny(id: &str, app: &str, accounts: &[&str]) -> AuthorizationPolicy {
    let values = Values::Texts(accounts.iter().map(|account| Pattern::new(account)).collect());
    let test = AttributeTest { attribute: Attribute::Principal, negated: false, values };
    AuthorizationPolicy {
        id: object_id(id),
        origin: Origin(id.into()),
        everywhere: false,
        selection: Selection::Labels(labels(&[("app", app)])),
        action: Action::Deny,
        dry_run: false,
        stand_in: false,
        rules: vec![AuthorizationRule { when: vec![test], ..AuthorizationRule::default() }],
    }
}

fn world() -> World {
    World::new(vec![
        put(pod("shop/web", "10.0.0.1", &[("app", "web")])),
        put(pod("shop/db", "10.0.0.2", &[("app", "db")])),
    ])
}

fn hold(all: &Arc<Admissions>, world: &World, ip: &str, account: &str) -> Held {
    let workload = world.snapshot.workload_at(ip.parse().unwrap()).unwrap();
    let peer = Peer::Verified(format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap());
    all.hold(
        workload,
        &Connection::new(&peer, "10.9.9.9".parse().unwrap(), format!("{ip}:80").parse().unwrap()),
        Carried::Unheard,
    )
}

/// Why a connection is ended by now.
async fn ended(mut held: Held) -> Option<String> {
    let mut during = pin!(held.during(std::future::pending::<Result<(), Failed>>()));
    match futures_poll(during.as_mut()).await {
        Some(Err(failed)) => Some(failed.reason),
        _ => None,
    }
}

async fn futures_poll<F: Future + Unpin>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn those_that_a_new_policy_denies_are_ended_and_nobody_else() {
    let (all, mut world) = (Arc::new(Admissions::default()), world());
    let before = Arc::clone(&world.snapshot);
    let held = [("10.0.0.1", "ann"), ("10.0.0.1", "bob"), ("10.0.0.2", "ann")];
    let held = held.map(|(ip, account)| hold(&all, &world, ip, account));
    world.apply(vec![put(deny("shop/no", "web", &["*/sa/ann"]))]);
    all.review(&before, &world.snapshot);
    let [first, second, third] = held;
    assert!(ended(first).await.is_some_and(|why| why.contains("AuthorizationPolicy shop/no rules[0]")));
    assert_eq!((ended(second).await, ended(third).await), (None, None));
    assert!(all.pods.lock().is_empty(), "who has gone is forgotten");
}

#[tokio::test]
async fn a_pod_that_a_policy_selects_by_a_new_label_is_looked_at_too() {
    let (all, mut world) = (Arc::new(Admissions::default()), world());
    world.apply(vec![put(deny("shop/no", "web", &["*"]))]);
    let (before, held) = (Arc::clone(&world.snapshot), hold(&all, &world, "10.0.0.2", "ann"));
    world.apply(vec![put(pod("shop/db", "10.0.0.2", &[("app", "web")]))]);
    all.review(&before, &world.snapshot);
    assert!(ended(held).await.is_some());
}

#[test]
fn policies_of_others_are_no_reason_to_look() {
    let mut world = world();
    let before = world.snapshot.policies.clone();
    let web = Arc::clone(world.snapshot.workload_at("10.0.0.1".parse().unwrap()).unwrap());
    world.apply(vec![put(deny("shop/no", "db", &["*"])), put(deny("bank/no", "web", &["*"]))]);
    assert!(world.snapshot.policies.same_for(&before, &web));
    world.apply(vec![put(deny("shop/more", "web", &["nobody"]))]);
    assert!(!world.snapshot.policies.same_for(&before, &web));
}

#[tokio::test]
async fn one_that_always_has_bytes_to_move_is_ended_too() {
    let (all, mut world) = (Arc::new(Admissions::default()), world());
    let (before, mut held) = (Arc::clone(&world.snapshot), hold(&all, &world, "10.0.0.1", "ann"));
    world.apply(vec![put(deny("shop/no", "web", &["*"]))]);
    all.review(&before, &world.snapshot);
    let busy = async {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    };
    let ended = tokio::time::timeout(std::time::Duration::from_secs(2), held.during::<()>(busy)).await;
    assert!(ended.is_ok_and(|ended| ended.is_err()));
}
