//! Checks of what users write: names, hosts, ports, subnets, patterns. Each error says what would be right.

use crate::model::workload::service_host;
use crate::vocab::Hostname;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use std::net::IpAddr;

/// A compiled pattern may take this much memory (bytes): a manifest must not be able to fill the agent's.
const MAX_REGEX: usize = 1 << 20;

/// RFC 1123 label: what Kubernetes lets namespaces and Services be called.
pub fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 1123 subdomain: what Kubernetes lets most objects be called.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label_or_long)
}

/// Kubernetes bounds a subdomain as a whole, not its parts.
fn is_label_or_long(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}

/// Where names that users write are looked up from.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// The namespace of the object that says the name.
    pub namespace: &'a str,
    /// Such as `cluster.local`.
    pub cluster_domain: &'a str,
}

/// A host as Istio reads it: without a dot it is a Service of the object's own namespace, otherwise it is whole.
/// Case and a final dot do not matter.
pub fn host(text: &str, lookup: Lookup<'_>) -> Result<Hostname, String> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let body = host.strip_prefix("*.").unwrap_or(&host);
    if host == "*" || host.parse::<IpAddr>().is_ok() {
        return Ok(host.into());
    }
    let label = |part: &str| is_label(&part.replace('_', "-"));
    if body.len() > 253 || !body.split('.').all(label) {
        return Err(format!("`{text}` is not a host name: labels of a-z, 0-9 and `-`, with dots between them"));
    }
    match host.contains('.') {
        true => Ok(host.into()),
        false => Ok(service_host(&host, lookup.namespace, lookup.cluster_domain)),
    }
}

/// A host that traffic can be sent to: no wildcard.
pub fn destination_host(text: &str, lookup: Lookup<'_>) -> Result<Hostname, String> {
    if text.is_empty() {
        return Err("has to name the host that the traffic goes to".to_owned());
    }
    if text.contains('*') {
        return Err(format!("`{text}` has a wildcard: traffic can only go to one particular host"));
    }
    host(text, lookup)
}

/// A name that a TLS client asks for: whole, or with `*.` before it, or `*`.
pub fn sni(text: &str) -> Result<Hostname, String> {
    let body = text.strip_prefix("*.").unwrap_or(text);
    let fine = text == "*" || (body.contains('.') && body.len() <= 253 && body.split('.').all(is_label));
    match fine {
        true => Ok(text.into()),
        false => Err(format!("`{text}` is not a whole host name in lower case, nor one with `*.` before it")),
    }
}

/// A TCP port.
pub fn port(number: i64) -> Result<u16, String> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{number} is not a port: ports are 1 to 65535")),
    }
}

/// A subnet, or one address.
pub fn subnet(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(one)
        .map(|net| net.trunc())
        .ok_or_else(|| format!("`{text}` is not a subnet such as 10.1.0.0/16, nor an address"))
}

/// A pattern that matches whole strings, as Envoy's RE2 full match does.
pub fn pattern(text: &str) -> Result<Regex, String> {
    // A first look at the bare text, so that messages show what the author wrote and no pattern escapes the group.
    pattern_anywhere(text).and_then(|_| build(&format!("^(?:{text})$")))
}

/// A pattern that is looked for anywhere in a string.
pub fn pattern_anywhere(text: &str) -> Result<Regex, String> {
    build(text)
}

fn build(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_REGEX).build().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{text}` is not a regular expression that can be used: {reason}")
    })
}
