//! The keys of conditions.

use crate::model::authorization_policy::Attribute;
use crate::source::header;
use std::sync::Arc;

const KEYS: &[(&str, Attribute)] = &[
    ("source.ip", Attribute::SourceIp),
    ("remote.ip", Attribute::RemoteIp),
    ("source.namespace", Attribute::Namespace),
    ("source.principal", Attribute::Principal),
    ("source.serviceAccount", Attribute::ServiceAccount),
    ("source.trustDomain", Attribute::TrustDomain),
    ("request.auth.principal", Attribute::RequestPrincipal),
    ("request.auth.audiences", Attribute::Audiences),
    ("request.auth.presenter", Attribute::Presenter),
    ("destination.ip", Attribute::DestinationIp),
    ("destination.port", Attribute::DestinationPort),
    ("connection.sni", Attribute::Sni),
];

/// What a condition's key stands for.
///
/// # Errors
/// It is none; the text says which there are.
pub fn of_key(key: &str) -> Result<Attribute, String> {
    if let Some((_, attribute)) = KEYS.iter().find(|(known, _)| *known == key) {
        return Ok(attribute.clone());
    }
    if let Some(rest) = key.strip_prefix("request.headers") {
        let [name] = brackets(rest).ok_or_else(|| unclear(key, "request.headers[name]"))?[..] else {
            return Err(unclear(key, "request.headers[name]"));
        };
        return header::name(name).map(Attribute::Header);
    }
    if let Some(rest) = key.strip_prefix("request.auth.claims") {
        let keys = brackets(rest).ok_or_else(|| unclear(key, "request.auth.claims[name]"))?;
        return Ok(Attribute::Claim(keys.into_iter().map(Arc::from).collect()));
    }
    if key.starts_with("experimental.envoy.filters.") {
        return Err(format!("`{key}` is Envoy's own, and there is no Envoy here"));
    }
    let known: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
    let known = known.join(", ");
    Err(format!("`{key}` is not a key: it is request.headers[name], request.auth.claims[name], {known}"))
}

/// `[a][b]`, at least one.
fn brackets(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let parts: Vec<&str> = inner.split("][").collect();
    parts.iter().all(|part| !part.is_empty() && !part.contains(['[', ']'])).then_some(parts)
}

fn unclear(key: &str, shape: &str) -> String {
    format!("`{key}` is not a key: it is written {shape}")
}
