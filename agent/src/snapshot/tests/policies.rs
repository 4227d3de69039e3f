//! One changed policy among 10,000 over 2,000 workloads, and what a decision looks at.

use crate::model::authorization_policy::*;
use crate::model::{AuthorizationPolicy, Change, Origin};
use crate::snapshot::fixtures::*;
use std::sync::Arc;

const WORKLOADS: u32 = 2_000;
const EACH: u32 = 5;
const NAMESPACES: u32 = 100;

fn namespace(n: u32) -> String {
    format!("n{}", n % NAMESPACES)
}

fn workload(n: u32) -> Change {
    let ip = std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string();
    put(pod(&format!("{}/w{n}", namespace(n)), &ip, &[("app", &format!("a{n}")), ("tier", "all")]))
}

fn policy(n: u32, at: u32, account: &str) -> Change {
    let values = Values::Texts(vec![Pattern::new(account)]);
    let test = AttributeTest { attribute: Attribute::Principal, negated: false, values };
    let id = format!("{}/p{n}-{at}", namespace(n));
    put(AuthorizationPolicy {
        id: object_id(&id),
        origin: Origin(id.as_str().into()),
        everywhere: false,
        selection: Selection::Labels(labels(&[("tier", "all"), ("app", &format!("a{n}"))])),
        action: Action::Allow,
        dry_run: false,
        stand_in: false,
        rules: vec![AuthorizationRule { when: vec![test], ..AuthorizationRule::default() }],
    })
}

#[test]
fn a_policy_costs_the_workloads_that_it_selects_and_no_other() {
    let all = (0..WORKLOADS).flat_map(|n| (0..EACH).map(move |at| policy(n, at, "*/sa/a")).chain([workload(n)]));
    let mut world = World::new(all.collect());
    let before = Arc::clone(&world.snapshot);
    assert_eq!(world.apply(vec![policy(7, 0, "*/sa/b")]).layers, 1);
    assert_eq!(world.apply(vec![policy(7, 0, "*/sa/b")]).layers, 0, "the same again");
    assert_eq!(world.apply(vec![workload(9)]).layers, 0, "a pod that is as it was");
    let changed = before.workloads.iter().filter(|one| !world.snapshot.policies.same_for(&before.policies, one));
    let changed: Vec<_> = changed.map(|one| one.id.pod.to_string()).collect();
    assert_eq!(changed, ["n7/w7"]);
    // What a decision looks at is what selects the workload.
    for one in before.workloads.iter() {
        assert_eq!(world.snapshot.policies.layers(one).policies().count(), EACH as usize);
    }
}
