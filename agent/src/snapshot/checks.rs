//! What contradicts itself between objects.

use crate::model::authorization_policy::Action;
use crate::model::{
    AuthorizationPolicy, DestinationRule, ExtensionProviders, Finding, PeerAuthentication, Scope, Severity,
    VirtualService, Workload,
};
use crate::route::Frontend;
use crate::route::frontend::routes_requests;
use crate::vocab::{ClusterName, Hostname, Namespace};
use std::net::IpAddr;
use std::sync::Arc;

fn finding(severity: Severity, code: &'static str, at: impl ToString, message: String) -> Finding {
    Finding { severity, code, at: at.to_string(), message }
}

/// Pods that have one address, the one that keeps it first.
pub(super) fn address(ip: IpAddr, claims: &[&Arc<Workload>]) -> Vec<Finding> {
    let Some((kept, others)) = claims.split_first() else {
        return Vec::new();
    };
    let refused = others.iter().filter(|other| !share_a_node(kept, other));
    let finding = |other: &&Arc<Workload>| {
        let message = format!(
            "pod {} has the address {ip} of pod {}, and is not reached by it; give them different pod networks",
            other.id, kept.id
        );
        finding(Severity::Error, "address-conflict", format!("Pod {}", other.id.pod), message)
    };
    refused.map(finding).collect()
}

/// Pods on the host's network have their node's address, all of them.
fn share_a_node(one: &Workload, other: &Workload) -> bool {
    !one.enrolled && !other.enrolled && one.node == other.node && one.id.cluster == other.id.cluster
}

/// Services that have one virtual address, the one that keeps it first. Service networks of different clusters
/// overlap in most meshes, and the local cluster's meaning is the one that pods expect: no finding there.
pub(super) fn virtual_address(ip: IpAddr, claims: &[(&ClusterName, &Hostname)]) -> Vec<Finding> {
    let Some(((cluster, kept), others)) = claims.split_first() else {
        return Vec::new();
    };
    let refused = others.iter().filter(|(other, host)| other == cluster && host != kept);
    let finding = |(_, host): &(&ClusterName, &Hostname)| {
        let message = format!("{host} has the virtual address {ip} of {kept}, and is not reached by it");
        finding(Severity::Error, "address-conflict", format!("Service {host}"), message)
    };
    refused.map(finding).collect()
}

/// VirtualServices for one host that some client sees together: only one of them is in force for it.
pub(super) fn virtual_services(host: &Hostname, rules: &[&Arc<VirtualService>]) -> Vec<Finding> {
    let overlap = |one: &VirtualService, other: &VirtualService| {
        let both = |namespace: &Namespace| other.export_to.contains(namespace);
        one.export_to.is_empty() || other.export_to.is_empty() || one.export_to.iter().any(both)
    };
    let shadowed = |(at, one): (usize, &&Arc<VirtualService>)| {
        let first = rules[..at].iter().find(|first| overlap(first, one))?;
        let same = first.id.namespace == one.id.namespace;
        let severity = if same { Severity::Error } else { Severity::Warning };
        let message = if same {
            format!(
                "VirtualService {} has no effect for {host}: {} is in force, and they are not merged",
                one.id, first.id
            )
        } else {
            format!(
                "VirtualServices {} and {} both are for {host}: a client gets its own namespace's, else the \
                 service's namespace's, else the first by name; they are not merged",
                first.id, one.id
            )
        };
        Some(finding(severity, "conflict", &one.origin, message))
    };
    rules.iter().enumerate().filter_map(shadowed).collect()
}

/// DestinationRules of one namespace for one host: only the first is in force.
pub(super) fn destination_rules(host: &Hostname, rules: &[&Arc<DestinationRule>]) -> Vec<Finding> {
    let shadowed = |(at, one): (usize, &&Arc<DestinationRule>)| {
        let first = rules[..at].iter().find(|first| first.id.namespace == one.id.namespace)?;
        let message = format!(
            "DestinationRule {} has no effect for {host}: {} is in force, and they are not merged; put all subsets in one",
            one.id, first.id
        );
        Some(finding(Severity::Error, "conflict", &one.origin, message))
    };
    rules.iter().enumerate().filter_map(shadowed).collect()
}

/// HTTP rules for a service none of whose ports speaks HTTP.
pub(super) fn protocols(frontend: &Frontend) -> Vec<Finding> {
    let ports = frontend.backends().ports();
    let unused = frontend.candidates().iter().map(|candidate| &candidate.rules).filter(|rules| {
        let routed = |port: &crate::route::backends::Port| routes_requests(rules, port.number(), port.whole.protocol);
        !rules.http.is_empty() && !ports.iter().any(routed)
    });
    let finding = |rules: &Arc<VirtualService>| {
        let message = format!(
            "the HTTP rules of VirtualService {} have no effect for {}: none of its ports says that it speaks HTTP; \
             set appProtocol, or a port name that starts with http",
            rules.id,
            frontend.backends().host()
        );
        finding(Severity::Warning, "not-http", &rules.origin, message)
    };
    unused.map(finding).collect()
}

/// A Service of type ExternalName: DNS answers its clients with the other name, and they connect to that. So rules for
/// it are never asked, and routes can lead to it only where the other name is a Service of the mesh.
pub(super) fn alias(
    (host, target): (&Hostname, &Hostname),
    meant: bool,
    named: &[&Arc<VirtualService>],
    led: &[&Arc<VirtualService>],
) -> Vec<Finding> {
    let unused = |rules: &&Arc<VirtualService>| {
        let message = format!(
            "VirtualService {} has no effect for {host}: that is another name (ExternalName) for {target}, and clients \
             connect there; name {target} instead",
            rules.id
        );
        finding(Severity::Warning, "external-name", &rules.origin, message)
    };
    let lost = |rules: &&Arc<VirtualService>| {
        let message = format!(
            "VirtualService {} leads to {host}, another name (ExternalName) for {target}, which is no Service of the \
             mesh: names outside of it are not looked up yet, and its share of the traffic gets 503 (NC)",
            rules.id
        );
        finding(Severity::Error, "external-name", &rules.origin, message)
    };
    let lost = led.iter().filter(|_| !meant).map(lost);
    named.iter().map(unused).chain(lost).collect()
}

/// Several PeerAuthentications for the whole of one namespace, or of the mesh.
pub(super) fn policies(policies: &[&Arc<PeerAuthentication>]) -> Vec<Finding> {
    let mut whole = policies.iter().filter(|policy| !matches!(policy.scope, Scope::Workload(_)));
    let Some(first) = whole.next() else {
        return Vec::new();
    };
    let finding = |other: &&Arc<PeerAuthentication>| {
        let message = format!("PeerAuthentication {} has no effect: {} is in force", other.id, first.id);
        finding(Severity::Error, "conflict", &other.origin, message)
    };
    whole.map(finding).collect()
}

/// A policy with the action CUSTOM, and nobody who can be asked.
pub(super) fn provider(policy: &AuthorizationPolicy, providers: Option<&ExtensionProviders>) -> Option<Finding> {
    let Action::Custom(name) = &policy.action else { return None };
    if providers.is_some_and(|providers| providers.authorizers.contains_key(name)) {
        return None;
    }
    let message = format!(
        "AuthorizationPolicy {}: MeshConfig has no external authorizer {name}: what the rules match is denied; name it in \
         extensionProviders of the ConfigMap istio",
        policy.id
    );
    Some(finding(Severity::Error, "missing-provider", &policy.origin, message))
}
