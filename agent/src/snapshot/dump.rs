//! The snapshot as JSON, for people at the admin endpoint.

use super::Snapshot;
use crate::balance::{Endpoint, Group, Limit};
use crate::model::authorization_policy::{AttributeTest, AuthorizationRule};
use crate::model::{
    AuthorizationPolicy, JwtRule, ObjectId, RequestAuthentication, Scope, VirtualService, WeightedDestination,
};
use crate::route::attached::RouteSet;
use crate::route::backends::Port;
use crate::route::{Frontend, Upstream};
use crate::vocab::Namespace;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Snapshot {
    /// Everything in it: workloads, services with their endpoints, routes, policies.
    pub fn dump(&self) -> Value {
        json!({
            "generation": self.generation,
            "workloads": sorted(self.workloads.iter(), |workload| workload.id.clone(), |workload| json!(workload)),
            "services": sorted(self.routes.hosts.values(), |frontend| frontend.backends().host().clone(), service),
            "routes": sorted(self.routes.bindings.values(), |one| one.rules.id.clone(), |one| route(&one.rules)),
            "gatewayApi": self.statuses.dump(),
            "authorizationPolicies": self.authorizations(),
            "requestAuthentications": self.authentications.iter().map(|one| authentication(one)).collect::<Vec<_>>(),
            "policies": self.policies.rules().map(|policy| json!({
                "peerAuthentication": policy.id.to_string(),
                "origin": policy.origin.to_string(),
                "selector": if let Scope::Workload(labels) = &policy.scope { json!(labels) } else { Value::Null },
                "scope": match policy.scope {
                    Scope::Mesh => "mesh",
                    Scope::Namespace => "namespace",
                    Scope::Workload(_) => "workload",
                },
                "mode": policy.mode,
                "ports": policy.ports,
            })).collect::<Vec<_>>(),
        })
    }
}

impl Snapshot {
    /// The AuthorizationPolicies in force, each with what it selects.
    fn authorizations(&self) -> Vec<Value> {
        let mut all: BTreeMap<&ObjectId, (&AuthorizationPolicy, Vec<String>)> = BTreeMap::new();
        for (what, one) in self.policies.authorizations() {
            let policy = &one.compiled.policy;
            let ports = one.ports.as_ref().map(|ports| format!(" ports {ports:?}")).unwrap_or_default();
            all.entry(&policy.id).or_insert_with(|| (policy, Vec::new())).1.push(what + &ports);
        }
        all.into_values().map(|(policy, selects)| authorization(policy, selects)).collect()
    }
}

fn authorization(policy: &AuthorizationPolicy, mut selects: Vec<String>) -> Value {
    selects.sort_unstable();
    let all = |tests: &[AttributeTest]| tests.iter().map(ToString::to_string).collect::<Vec<_>>();
    let ways = |ways: &[Vec<AttributeTest>]| ways.iter().map(|one| all(one)).collect::<Vec<_>>();
    let rule =
        |rule: &AuthorizationRule| json!({ "from": ways(&rule.from), "to": ways(&rule.to), "when": all(&rule.when) });
    json!({
        "id": policy.id.to_string(),
        "origin": policy.origin.to_string(),
        "action": policy.action.as_str(),
        "dryRun": policy.dry_run,
        "deniesUntilCorrected": policy.stand_in,
        "selects": selects,
        "rules": policy.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn authentication(policy: &RequestAuthentication) -> Value {
    let rule = |rule: &Arc<JwtRule>| json!({ "issuer": rule.issuer, "audiences": rule.audiences, "keys": rule.keys.to_string(), "required": rule.required });
    json!({
        "id": policy.id.to_string(),
        "origin": policy.origin.to_string(),
        "selects": policy.selection.to_string(),
        "refusesUntilCorrected": policy.rules.is_none(),
        "rules": policy.rules.iter().flatten().map(rule).collect::<Vec<_>>(),
    })
}

fn sorted<T, K: Ord>(all: impl Iterator<Item = T>, key: impl Fn(&T) -> K, show: impl Fn(&T) -> Value) -> Value {
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(key);
    all.iter().map(show).collect()
}

fn service(frontend: &&Arc<Frontend>) -> Value {
    let frontend: &Frontend = frontend;
    let backends = frontend.backends();
    json!({
        "host": backends.host(),
        "namespace": backends.namespace(),
        "addresses": backends.addresses(),
        "virtualServices": frontend.candidates().iter().map(|one| one.rules.id.to_string()).collect::<Vec<_>>(),
        "gatewayRoutes": frontend.attached().into_iter().flat_map(|one| one.sets()).map(attached).collect::<Vec<_>>(),
        "destinationRules": backends.rules().iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>(),
        "ports": backends.ports().iter().map(port).collect::<Vec<_>>(),
    })
}

/// Routes of the Gateway API at a port; those of the service's own namespace are for all clients.
fn attached((port, clients, set): (u16, Option<&Namespace>, &RouteSet)) -> Value {
    json!({
        "port": port,
        "clients": clients.map_or("*", |namespace| namespace.as_str()),
        "routes": set.routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rules": route(&set.binding.rules),
    })
}

fn port(port: &Port) -> Value {
    json!({
        "number": port.number(),
        "protocol": port.whole.protocol,
        "endpoints": port.whole.group.ready().iter().map(|one| endpoint(one)).collect::<Vec<_>>(),
        "unready": port.whole.group.unready(),
        "subsets": port.ruled.iter().flat_map(|ruled| &ruled.subsets).map(|one| ruled(one)).collect::<Vec<_>>(),
        "ruled": port.ruled.iter().map(|under| ruled(&under.whole)).collect::<Vec<_>>(),
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let workload = endpoint.workload.as_ref().map(|workload| workload.id.to_string());
    json!({
        "address": endpoint.address,
        "workload": workload,
        "load": endpoint.load.open(),
        "locality": endpoint.place.locality.to_string(),
    })
}

/// An upstream under a DestinationRule, with what is known of it by now.
fn ruled(upstream: &Upstream) -> Value {
    let (group, standing) = (&upstream.group, &upstream.standing);
    let out = group.ready().iter().filter(|endpoint| endpoint.is_out()).map(|endpoint| json!(endpoint.address));
    let open = Limit::ALL.map(|limit| (limit.as_str().to_owned(), json!(standing.open(limit))));
    json!({
        "name": upstream.subset,
        "endpoints": addresses(group),
        "unready": group.unready(),
        "ejected": out.collect::<Vec<_>>(),
        "open": serde_json::Map::from_iter(open),
        "policy": format!("{:?}", upstream.policy),
    })
}

fn addresses(group: &Group) -> Vec<Value> {
    group.ready().iter().map(|endpoint| json!(endpoint.address)).collect()
}

fn route(rules: &VirtualService) -> Value {
    let http = rules.http.iter().map(|rule| {
        json!({
            "name": rule.name,
            "match": rule.matches.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>(),
            "route": rule.route().iter().map(destination).collect::<Vec<_>>(),
            "broken": rule.broken,
        })
    });
    let tcp = rules.tcp.iter().map(|rule| {
        json!({
            "match": rule.matches.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>(),
            "route": rule.route.iter().map(destination).collect::<Vec<_>>(),
            "broken": rule.broken,
        })
    });
    let tls = rules.tls.iter().map(|rule| {
        json!({
            "match": rule.matches.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>(),
            "route": rule.route.iter().map(destination).collect::<Vec<_>>(),
            "broken": rule.broken,
        })
    });
    json!({
        "virtualService": rules.id.to_string(),
        "origin": rules.origin.to_string(),
        "hosts": rules.hosts,
        "exportTo": rules.export_to,
        "http": http.collect::<Vec<_>>(),
        "tls": tls.collect::<Vec<_>>(),
        "tcp": tcp.collect::<Vec<_>>(),
    })
}

fn destination(weighted: &WeightedDestination) -> Value {
    let to = &weighted.destination;
    json!({ "host": to.host, "subset": to.subset, "port": to.port, "weight": weighted.weight })
}
