//! VirtualServices whose ports have routes of the Gateway API, which come first.

use crate::model::{Finding, Severity, VirtualService};
use crate::route::Frontend;
use crate::route::attached::RouteSet;
use crate::vocab::Namespace;
use std::sync::Arc;

/// Routes that are in force at these ports, for the clients of one namespace or of all.
struct Taken<'a> {
    set: &'a RouteSet,
    clients: Option<&'a Namespace>,
    ports: Vec<String>,
}

/// What is to be said where both APIs have rules for one port.
pub(in crate::snapshot) fn displaced(frontend: &Frontend) -> Vec<Finding> {
    let taken = taken(frontend);
    let mut findings = Vec::new();
    for rules in frontend.candidates().iter().map(|candidate| &candidate.rules) {
        let both = taken.iter().filter(|taken| overlap(taken.set, rules));
        findings.extend(both.map(|taken| finding(taken, rules, frontend)));
    }
    findings
}

fn taken(frontend: &Frontend) -> Vec<Taken<'_>> {
    let mut taken: Vec<Taken<'_>> = Vec::new();
    for (port, clients, set) in frontend.attached().into_iter().flat_map(|attached| attached.sets()) {
        let same = |one: &&mut Taken<'_>| one.clients == clients && Arc::ptr_eq(&one.set.binding, &set.binding);
        match taken.iter_mut().find(same) {
            Some(one) => one.ports.push(port.to_string()),
            None => taken.push(Taken { set, clients, ports: vec![port.to_string()] }),
        }
    }
    taken
}

/// Whether both have rules for requests, or both for connections.
fn overlap(set: &RouteSet, rules: &VirtualService) -> bool {
    match set.kind.routes_requests() {
        true => !rules.http.is_empty(),
        false => !rules.tcp.is_empty() || !rules.tls.is_empty(),
    }
}

fn finding(taken: &Taken<'_>, rules: &VirtualService, frontend: &Frontend) -> Finding {
    let clients = taken.clients.map(|namespace| format!(" for clients of {namespace}")).unwrap_or_default();
    let route = taken.set.routes.first().map(ToString::to_string).unwrap_or_default();
    let message = format!(
        "{route} is in force at port {} of {}{clients}, and VirtualService {} is not: routes of the Gateway API come \
         first; remove one of the two",
        taken.ports.join(", "),
        frontend.backends().host(),
        rules.id
    );
    Finding { severity: Severity::Warning, code: "displaced", at: rules.origin.to_string(), message }
}
