//! Files may be a part of what a cluster has: a reference that leads out of them, to a namespace that they say nothing
//! of, may well lead somewhere.

use super::facts::Facts;
use super::objects::Objects;
use crate::model::{Finding, HttpRule, Severity};
use crate::source::Declared;
use std::collections::HashMap;

/// Kinds whose parents and backends are Services unless they say otherwise.
const ROUTES: &[&str] = &["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"];

/// What is said of references to objects; `missing-subset` and `missing-port` are of objects that are there.
const OBJECTS: &[&str] = &["missing-host", "missing-parent", "missing-target", "missing-credential"];

/// What is referred to, by the place where it is written.
type Places = HashMap<String, Referred>;

enum Referred {
    Host(String),
    /// An object of one of these kinds in a namespace.
    Object(&'static [&'static str], String),
}

/// Makes warnings of references that the files alone cannot judge.
pub(super) fn soften(findings: &mut [Finding], objects: &Objects<'_>, facts: &Facts<'_>) {
    let mut places = hosts(objects);
    places.extend(facts.declared.iter().flat_map(named));
    for finding in findings.iter_mut().filter(|finding| finding.code.starts_with("missing-")) {
        let hint = match (finding.code, places.get(&finding.at)) {
            ("missing-provider", _) => object_hint(&["ConfigMap"], "istio-system", facts),
            ("missing-host", None) => Some(outside("", facts)),
            ("missing-host", Some(Referred::Host(host))) => host_hint(host, facts),
            (code, Some(Referred::Object(kinds, namespace))) if OBJECTS.contains(&code) => {
                object_hint(kinds, namespace, facts)
            }
            _ => continue,
        };
        let Some(hint) = hint else { continue };
        finding.severity = Severity::Warning;
        finding.message = format!("{}; {hint}", finding.message);
    }
}

fn host_hint(host: &str, facts: &Facts<'_>) -> Option<String> {
    match facts.service_of(host) {
        Some(id) => object_hint(&["Service"], id.namespace.as_str(), facts),
        None => Some(outside(host, facts)),
    }
}

fn outside(host: &str, facts: &Facts<'_>) -> String {
    match facts.has_host(host) {
        true => "a ServiceEntry has it, and that kind is not supported yet".to_owned(),
        false => "it is no host of this cluster, and these files hold no ServiceEntry for it".to_owned(),
    }
}

fn object_hint(kinds: &[&str], namespace: &str, facts: &Facts<'_>) -> Option<String> {
    let known = kinds.iter().any(|kind| facts.speak_of(kind, namespace));
    let hint = || format!("these files hold no {} of namespace {namespace}: give its file too", kinds.join(" or "));
    (!known).then(hint)
}

/// The hosts that VirtualServices send traffic to.
fn hosts(objects: &Objects<'_>) -> Places {
    let rules = objects.virtual_services.iter();
    let routes = rules.flat_map(|rules| {
        let http = rules.http.iter().flat_map(|rule| {
            let mirrors = rule.filters.mirrors.iter().map(|mirror| &mirror.destination);
            HttpRule::route(rule).iter().map(|one| &one.destination).chain(mirrors)
        });
        let tls = rules.tls.iter().flat_map(|rule| &rule.route);
        let l4 = tls.chain(rules.tcp.iter().flat_map(|rule| &rule.route)).map(|one| &one.destination);
        http.chain(l4)
    });
    routes.map(|to| (to.origin.to_string(), Referred::Host(to.host.as_str().to_owned()))).collect()
}

/// The objects that one refers to by name.
fn named(one: &Declared) -> Vec<(String, Referred)> {
    match one.kind.as_str() {
        kind if ROUTES.contains(&kind) => {
            let mut pointers = items(one, "/spec/parentRefs");
            for rule in items(one, "/spec/rules") {
                for backend in items(one, &format!("{rule}/backendRefs")) {
                    pointers.extend(mirrors(one, &backend));
                    pointers.push(backend);
                }
                pointers.extend(mirrors(one, &rule));
            }
            pointers.iter().map(|pointer| to(one, pointer, &["Service"])).collect()
        }
        "BackendTLSPolicy" => {
            items(one, "/spec/targetRefs").iter().map(|pointer| to(one, pointer, &["Service"])).collect()
        }
        // What is said of credentials is said of the whole object.
        "DestinationRule" => vec![to(one, "", &["Secret", "ConfigMap"])],
        _ => Vec::new(),
    }
}

fn mirrors(one: &Declared, at: &str) -> Vec<String> {
    let filters = items(one, &format!("{at}/filters")).into_iter();
    filters.map(|filter| format!("{filter}/requestMirror/backendRef")).collect()
}

/// The pointers of a list's items.
fn items(one: &Declared, list: &str) -> Vec<String> {
    (0..one.list(list).len()).map(|at| format!("{list}/{at}")).collect()
}

fn to(one: &Declared, pointer: &str, kinds: &'static [&'static str]) -> (String, Referred) {
    let said = one.text(&format!("{pointer}/namespace")).filter(|_| !pointer.is_empty());
    let namespace = said.unwrap_or(one.id.namespace.as_str()).to_owned();
    // Of an item of a list its own place is meant, of a field that of its key.
    (one.key_at(pointer).to_string(), Referred::Object(kinds, namespace))
}
