//! Which BackendTLSPolicy is in force for which port of a Service.

use super::references::{World, declared};
use super::status::{Condition, Object, Standing, condition};
use crate::model::backend_tls_policy::PolicyTarget;
use crate::model::gateway_route::ParentReference;
use crate::model::traffic_policy::ClientTls;
use crate::model::{BackendTlsPolicy, Finding, ServicePort, Severity};
use crate::snapshot::index::Index;
use crate::vocab::Hostname;
use std::sync::Arc;

/// TLS to the endpoints of a Service, by its ports.
pub(in crate::snapshot) fn in_force(index: &Index, host: &Hostname) -> Vec<(u16, ClientTls)> {
    let ports = index.services.values(host).flat_map(|service| &service.ports);
    let mut found: Vec<(u16, ClientTls)> = Vec::new();
    for port in ports {
        if found.iter().all(|(number, _)| *number != port.number) {
            found.extend(chosen(index, host, port).map(|(policy, _)| (port.number, policy.tls.clone())));
        }
    }
    found
}

/// The policy that is in force for a port: one that names it before one that does not, then the oldest, then by name.
fn chosen<'a>(
    index: &'a Index,
    host: &Hostname,
    port: &ServicePort,
) -> Option<(&'a Arc<BackendTlsPolicy>, &'a PolicyTarget)> {
    let targets = index.routes.tls.values(host).flat_map(|policy| {
        let own = policy.targets.iter().filter(|target| target.host.as_ref() == Some(host));
        own.map(move |target| (policy, target))
    });
    let meant = targets.filter(|(_, target)| target.section_name.as_ref().is_none_or(|name| *name == port.name));
    meant.min_by_key(|(policy, target)| (target.section_name.is_none(), policy.age.seniority(), policy.id.clone()))
}

/// What the status of a policy says, and what is wrong with it.
pub(in crate::snapshot) fn policy_status(
    policy: &Arc<BackendTlsPolicy>,
    world: World<'_>,
) -> (Vec<Standing>, Vec<Finding>) {
    let (mut standings, mut findings) = (Vec::new(), Vec::new());
    for (index, target) in policy.targets.iter().enumerate() {
        let accepted = accepted(policy, target, world);
        if let Err((reason, what)) = &accepted
            && policy.broken.is_none()
        {
            let code = if *reason == "Conflicted" { "conflict" } else { "missing-target" };
            let message = format!("BackendTLSPolicy {} has no effect here: {what}", policy.id);
            findings.push(Finding { severity: Severity::Error, code, at: target.origin.to_string(), message });
        }
        let reference = ParentReference {
            group: Arc::clone(&target.group),
            kind: Arc::clone(&target.kind),
            namespace: Some(policy.id.namespace.as_str().into()),
            name: Arc::clone(&target.name),
            section_name: target.section_name.clone(),
            port: None,
        };
        let conditions = conditions(policy, accepted);
        standings.push(Standing { object: Object::Policy(policy.id.clone()), index, reference, conditions });
    }
    (standings, findings)
}

fn accepted(
    policy: &Arc<BackendTlsPolicy>,
    target: &PolicyTarget,
    world: World<'_>,
) -> Result<(), (&'static str, String)> {
    let Some(host) = &target.host else {
        return Err(("TargetNotFound", format!("a {} is no target here", target.kind)));
    };
    if declared(world.index, host).is_none() {
        return Err(("TargetNotFound", format!("no cluster has a Service {}", target.name)));
    }
    let services = world.index.services.values(host);
    let ports = services.flat_map(|service| &service.ports);
    let meant = |port: &&ServicePort| target.section_name.as_ref().is_none_or(|name| *name == port.name);
    let mut ports = ports.filter(meant).peekable();
    if ports.peek().is_none() {
        let section = target.section_name.as_deref().unwrap_or_default();
        return Err(("TargetNotFound", format!("the Service {} has no port named {section}", target.name)));
    }
    let mut other = None;
    for port in ports {
        match chosen(world.index, host, port) {
            Some((first, _)) if first.id == policy.id => return Ok(()),
            Some((first, _)) => other = Some(&first.id),
            None => {}
        }
    }
    let other = other.map(ToString::to_string).unwrap_or_default();
    Err(("Conflicted", format!("BackendTLSPolicy {other} is in force for the same ports")))
}

fn conditions(policy: &BackendTlsPolicy, accepted: Result<(), (&'static str, String)>) -> Vec<Condition> {
    let generation = policy.age.generation;
    let resolved = || condition("ResolvedRefs", None, "every reference leads somewhere".to_owned(), generation);
    match (&policy.broken, accepted) {
        (Some((reason @ "Invalid", what)), _) => {
            vec![condition("Accepted", Some(reason), what.to_string(), generation), resolved()]
        }
        (Some((reason, what)), _) => vec![
            condition("Accepted", Some("NoValidCACertificate"), what.to_string(), generation),
            condition("ResolvedRefs", Some(reason), what.to_string(), generation),
        ],
        (None, Err((reason, what))) => vec![condition("Accepted", Some(reason), what, generation), resolved()],
        (None, Ok(())) => vec![condition("Accepted", None, "in force".to_owned(), generation), resolved()],
    }
}
