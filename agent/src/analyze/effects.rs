//! Objects, and parts of them, that change nothing.

use super::facts::{Facts, labels};
use super::objects::Objects;
use super::warning;
use crate::model::authorization_policy::Selection;
use crate::model::{
    AuthorizationPolicy, DestinationRule, Finding, PeerAuthentication, Scope, Subset, TrafficPolicy, VirtualService,
};
use crate::source::{Declared, service_protocol};
use serde_json::Value;

/// Everything in the files that has no effect although it is right by itself.
pub(super) fn without(objects: &Objects<'_>, facts: &Facts<'_>) -> Vec<Finding> {
    let services = facts.of_kind("Service").filter_map(|one| selects_nothing(one, facts));
    let hosts = objects.virtual_services.iter().flat_map(|rules| unused_hosts(rules, facts));
    let rules = objects.destination_rules.iter().flat_map(|rule| destination_rule(rule, facts));
    let policies = objects.policies.iter().filter_map(|policy| policy_for_nobody(policy, facts));
    let authorizations = objects.authorizations.iter().filter_map(|policy| authorization_for_nobody(policy, facts));
    services.chain(hosts).chain(rules).chain(policies).chain(authorizations).collect()
}

/// A Service whose selector fits no pod of the files, where they have pods of its namespace.
fn selects_nothing(one: &Declared, facts: &Facts<'_>) -> Option<Finding> {
    let (selector, namespace) = (labels(one.value.pointer("/spec/selector")), one.id.namespace.as_str());
    let chosen = facts.pods(namespace, &selector).next().is_some();
    if selector.is_empty() || chosen || !facts.speak_of_pods(namespace) {
        return None;
    }
    let message = format!(
        "Service {} selects no pod of these files ({}): it has no endpoints, and its clients get 503; correct the \
         selector or the pods' labels",
        one.id,
        shown(&selector)
    );
    Some(warning("no-pods", one.at("/spec/selector"), message))
}

/// Hosts of a VirtualService that nothing has, where the files would have it.
fn unused_hosts(rules: &VirtualService, facts: &Facts<'_>) -> Vec<Finding> {
    let declared = facts.find("VirtualService", &rules.id);
    let unused = |(at, host): (usize, &crate::vocab::Hostname)| {
        if !is_missing(host.as_str(), facts) {
            return None;
        }
        let place = declared.map_or_else(|| rules.origin.clone(), |one| one.at(&format!("/spec/hosts/{at}")));
        let message = format!(
            "VirtualService {} has no effect for {host}: no Service has that host; correct the name or its namespace",
            rules.id
        );
        Some(warning("no-effect", place, message))
    };
    rules.hosts.iter().enumerate().filter_map(unused).collect()
}

/// Whether no Service is meant: of a namespace that the files have Services of, or of no namespace at all.
fn is_missing(host: &str, facts: &Facts<'_>) -> bool {
    let namespace = facts.service_of(host.trim_start_matches("*."));
    let said = namespace.is_none_or(|id| facts.speak_of("Service", id.namespace.as_str()));
    said && !host.starts_with('*') && !facts.has_host(host)
}

fn destination_rule(rule: &DestinationRule, facts: &Facts<'_>) -> Vec<Finding> {
    let declared = facts.find("DestinationRule", &rule.id);
    let place = |pointer: &str| declared.map_or_else(|| rule.origin.clone(), |one| one.at(pointer));
    if is_missing(rule.host.as_str(), facts) {
        let message = format!(
            "DestinationRule {} has no effect: no Service has the host {}; correct the name or its namespace",
            rule.id, rule.host
        );
        return vec![warning("no-effect", place("/spec/host"), message)];
    }
    if rule.subsets.is_empty() && rule.policy == TrafficPolicy::default() && says_nothing(declared) {
        let message = format!("DestinationRule {} says nothing: give it `subsets` or `trafficPolicy`", rule.id);
        return vec![warning("no-effect", place(""), message)];
    }
    let empty = rule.subsets.iter().enumerate().filter(|(_, subset)| is_empty(rule, subset, facts));
    let finding = |(at, subset): (usize, &Subset)| {
        let message = format!(
            "no pod of these files is in subset {} of {} ({}): what is sent there gets 503; correct the labels, or add \
             the pods",
            subset.name,
            rule.host,
            shown(&subset.labels)
        );
        warning("empty-subset", place(&format!("/spec/subsets/{at}")), message)
    };
    let idle = idle_tunnels(rule, facts).into_iter().map(|pointer| {
        let message = format!(
            "all ports of {} carry HTTP, and only connections of bytes are tunnelled: give it a port of protocol tcp or tls",
            rule.host
        );
        warning("no-effect", place(&pointer), message)
    });
    empty.map(finding).chain(idle).collect()
}

/// Tunnels for a Service all of whose ports carry requests. As in Istio, they are for connections of bytes.
fn idle_tunnels(rule: &DestinationRule, facts: &Facts<'_>) -> Vec<String> {
    if !facts.service(rule.host.as_str()).is_some_and(only_requests) {
        return Vec::new();
    }
    let subsets = rule.subsets.iter().enumerate();
    let subsets = subsets.map(|(at, subset)| (format!("/spec/subsets/{at}"), &subset.policy));
    let policies = std::iter::once(("/spec".to_owned(), &rule.policy)).chain(subsets);
    let tunnelled = policies.filter(|(_, policy)| policy.any_port.tunnel.is_some());
    tunnelled.map(|(at, _)| format!("{at}/trafficPolicy/tunnel")).collect()
}

fn only_requests(service: &Declared) -> bool {
    let of = |port: &Value| {
        let number = port["port"].as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or_default();
        service_protocol(number, port["name"].as_str().unwrap_or_default(), port["appProtocol"].as_str())
    };
    service.list("/spec/ports").iter().all(|port| of(port).is_http())
}

/// Parts that are not supported have their own finding.
fn says_nothing(declared: Option<&Declared>) -> bool {
    declared.is_none_or(|one| one.value.pointer("/spec/trafficPolicy").is_none())
}

/// Whether the files have the Service's pods, and none of them is in the subset.
fn is_empty(rule: &DestinationRule, subset: &Subset, facts: &Facts<'_>) -> bool {
    let Some(service) = facts.service(rule.host.as_str()) else {
        return false;
    };
    let selector = labels(service.value.pointer("/spec/selector"));
    let namespace = service.id.namespace.as_str();
    if selector.is_empty() || facts.pods(namespace, &selector).next().is_none() {
        return false;
    }
    let both = selector.into_iter().chain(subset.labels.clone()).collect();
    facts.pods(namespace, &both).next().is_none()
}

fn policy_for_nobody(policy: &PeerAuthentication, facts: &Facts<'_>) -> Option<Finding> {
    let Scope::Workload(selector) = &policy.scope else {
        return None;
    };
    let namespace = policy.id.namespace.as_str();
    if !facts.speak_of_pods(namespace) || facts.pods(namespace, selector).next().is_some() {
        return None;
    }
    let declared = facts.find("PeerAuthentication", &policy.id);
    let place = declared.map_or_else(|| policy.origin.clone(), |one| one.at("/spec/selector"));
    let message = format!(
        "PeerAuthentication {} has no effect: it selects no pod of these files ({}); correct its selector",
        policy.id,
        shown(selector)
    );
    Some(warning("no-effect", place, message))
}

fn authorization_for_nobody(policy: &AuthorizationPolicy, facts: &Facts<'_>) -> Option<Finding> {
    let declared = facts.find("AuthorizationPolicy", &policy.id);
    let place = |pointer: &str| declared.map_or_else(|| policy.origin.clone(), |one| one.at(pointer));
    let namespace = policy.id.namespace.as_str();
    match &policy.selection {
        Selection::Labels(selector) if !policy.everywhere => {
            if !facts.speak_of_pods(namespace) || facts.pods(namespace, selector).next().is_some() {
                return None;
            }
            let message = format!(
                "AuthorizationPolicy {} has no effect: it selects no pod of these files ({}); correct its selector",
                policy.id,
                shown(selector)
            );
            Some(warning("no-effect", place("/spec/selector"), message))
        }
        Selection::Services(hosts) if hosts.iter().all(|host| is_missing(host.as_str(), facts)) => {
            let message = format!(
                "AuthorizationPolicy {} has no effect: there is no Service that it targets; correct its targetRefs",
                policy.id
            );
            Some(warning("no-effect", place("/spec"), message))
        }
        _ => None,
    }
}

fn shown(labels: &crate::model::Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}
