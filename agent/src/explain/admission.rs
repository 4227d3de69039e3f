//! Whether the policies of the destination's pods let it in, and why.

use crate::model::{TunnelProtocol, Workload};
use crate::policy::{self, Asked, Connection, Peer, PolicyWhy, Verdict};
use crate::route::backends::Port;
use crate::snapshot::Snapshot;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Different answers that are told of; pods that answer the same are told of together.
const MOST: usize = 20;

/// What each pod behind a port says; nothing where no policy has a say.
pub(super) fn of(now: &Snapshot, source: &Workload, port: &Port) -> Vec<Value> {
    let meshed = source.tunnel != TunnelProtocol::Plaintext;
    let peer = if meshed { Peer::Verified(source.identity.clone()) } else { Peer::Anonymous };
    let mut answers: Vec<(Value, Vec<String>)> = Vec::new();
    let pods = port.whole.group.ready().iter().filter_map(|one| Some((one.address, one.workload.clone()?)));
    for (address, workload) in pods.filter(|(_, workload)| workload.id.cluster == *now.policies.local()) {
        let Some(answer) = one(now, (source, &peer), (&workload, address)) else { continue };
        match answers.iter().position(|(same, _)| *same == answer) {
            Some(at) => answers[at].1.push(workload.id.to_string()),
            None if answers.len() < MOST => answers.push((answer, vec![workload.id.to_string()])),
            None => {}
        }
    }
    let named = |(mut answer, pods): (Value, Vec<String>)| {
        answer["pods"] = json!(pods);
        answer
    };
    answers.into_iter().map(named).collect()
}

fn one(
    now: &Snapshot,
    (source, peer): (&Workload, &Peer),
    (workload, address): (&Arc<Workload>, SocketAddr),
) -> Option<Value> {
    let from = source.addresses.iter().find(|ip| ip.is_ipv4() == address.is_ipv4()).or(source.addresses.first())?;
    let connection = Connection::new(peer, *from, address);
    let decision = policy::authorize_opaque(&now.policies, workload, &connection, Asked::No);
    let policies: Vec<Value> = policy::why(&now.policies, workload, &connection).iter().map(policy_row).collect();
    let (allowed, why) = match decision.verdict {
        Verdict::Allowed { by: None, .. } if policies.is_empty() => return None,
        Verdict::Allowed { by, .. } => (true, by.map_or_else(|| "no policy denies it".to_owned(), |by| by.to_string())),
        Verdict::Denied(denied) => (false, denied.to_string()),
        Verdict::Ask(who) => (false, format!("{} would be asked, and is not supported yet", who.join(", "))),
        Verdict::Undecided => (false, "it is not decided".to_owned()),
    };
    let told: Vec<String> = decision.reports.iter().map(ToString::to_string).collect();
    Some(json!({ "allowed": allowed, "why": why, "policies": policies, "told": told }))
}

fn policy_row(one: &PolicyWhy) -> Value {
    let rule = |(at, rule): (usize, &policy::RuleWhy)| json!({ "rule": format!("rules[{at}]"), "matches": rule.matches, "why": rule.unmet });
    json!({
        "policy": one.policy.id.to_string(),
        "at": one.policy.origin.to_string(),
        "action": one.policy.action.as_str(),
        "dryRun": one.policy.dry_run,
        "isForPort": one.is_for_port,
        "rules": one.rules.iter().enumerate().map(rule).collect::<Vec<_>>(),
    })
}
