//! Istio's MeshConfig: the entry `mesh` of the ConfigMap `istio` in the root namespace. Its external authorizers are
//! read; everything else in it has no effect, and is reported.

use super::Scope;
use super::decode::{Strictness, decode, raw};
use super::item::{Meaning, Raw};
use super::notes::Notes;
use super::path::Path;
use super::schema::{EXT_AUTHZ_GRPC, EXT_AUTHZ_HTTP, Schema};
use super::{header, name, quantity, yaml};
use crate::model::extension_provider::{Authorizer, CheckProtocol, ExtensionProviders, HttpCheck, NamePattern};
use crate::model::{Object, ObjectId};
use http::StatusCode;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The ConfigMap's name.
const NAME: &str = "istio";
/// Its entry.
const ENTRY: &str = "mesh";
/// Istio's default.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Fields that say what is so anyway.
const NEUTRAL: &[&str] = &["rootNamespace", "trustDomain", "trustDomainAliases"];

raw!(Spec {
    service: String,
    port: i64,
    timeout: Option<String>,
    fail_open: bool,
    clear_route_cache: bool,
    status_on_error: Option<String>,
    path_prefix: String,
    include_headers_in_check: Vec<String>,
    include_request_headers_in_check: Vec<String>,
    include_additional_headers_in_check: BTreeMap<String, String>,
    headers_to_upstream_on_allow: Vec<String>,
    headers_to_downstream_on_deny: Vec<String>,
    headers_to_downstream_on_allow: Vec<String>,
});

/// Whether a ConfigMap is the mesh's own.
pub fn is_it(source: &Scope<'_>, id: &ObjectId) -> bool {
    id.namespace.as_str() == source.root_namespace && *id.name == *NAME
}

/// Reads it. An authorizer that cannot be read is not there: who needs it is denied.
pub fn read(source: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let path = raw.path.key("data").key(ENTRY);
    let Some(text) = raw.value.pointer("/data/mesh").and_then(Value::as_str) else {
        return Some(Meaning::Nothing);
    };
    let config = match yaml::parse(text, 1) {
        Ok(config) => config.map_or(Value::Null, |node| node.to_value()),
        Err(error) => {
            notes.error("syntax", &path, format!("line {} of it: {}", error.place.line, error.what));
            return None;
        }
    };
    let Some(fields) = config.as_object() else {
        return Some(Meaning::Nothing);
    };
    for field in fields.keys().filter(|field| *field != PROVIDERS && !NEUTRAL.contains(&field.as_str())) {
        notes.warning("unsupported-field", &path.key(field), "has no effect: of MeshConfig the authorizers are read");
    }
    let providers = path.key(PROVIDERS);
    let mut authorizers = BTreeMap::new();
    for (at, provider) in fields.get(PROVIDERS).and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Some(one) = authorizer((source, raw), provider, &providers.index(at), notes) {
            authorizers.insert(Arc::clone(&one.name), Arc::new(one));
        }
    }
    let (id, origin) = (raw.id.clone(), raw.origin(notes));
    Some(Meaning::object(Object::ExtensionProviders(ExtensionProviders { id, origin, authorizers })))
}

const PROVIDERS: &str = "extensionProviders";

fn authorizer(
    (source, raw): (&Scope<'_>, &Raw<'_>),
    provider: &Value,
    path: &Path,
    notes: &mut Notes<'_>,
) -> Option<Authorizer> {
    let kinds: [(&str, &'static Schema); 2] =
        [("envoyExtAuthzGrpc", &EXT_AUTHZ_GRPC), ("envoyExtAuthzHttp", &EXT_AUTHZ_HTTP)];
    let Some((kind, schema)) = kinds.into_iter().find(|(kind, _)| provider.get(kind).is_some()) else {
        let what = "has no effect: only envoyExtAuthzGrpc and envoyExtAuthzHttp are read";
        notes.warning("unsupported-field", path, what);
        return None;
    };
    let Some(name) = provider.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        notes.error("missing-field", path, "`name` is missing: policies say it");
        return None;
    };
    let (path, before) = (path.key(kind), notes.errors());
    let decoded = decode::<Spec>(&provider[kind], &path, Strictness::Strict(schema), notes)?;
    for field in &decoded.unsupported {
        let what = "has no effect yet: the authorizer sees no body";
        notes.warning("unsupported-field", &path.join(field), what);
    }
    let spec = decoded.value;
    let http = (kind == "envoyExtAuthzHttp").then(|| check(&spec, &path, notes));
    let status = spec.status_on_error.as_deref().map(|text| status(text, &path.key("statusOnError"), notes));
    let host = host((source, raw), &spec.service, &path.key("service"), notes);
    let port = name::port(spec.port).map_err(|what| notes.invalid("invalid-port", &path.key("port"), what));
    let timeout = quantity::duration(spec.timeout.as_ref(), &path.key("timeout"), notes).unwrap_or(TIMEOUT);
    if notes.errors() > before {
        return None;
    }
    Some(Authorizer {
        name: name.into(),
        host: host?,
        port: port.ok()?,
        timeout,
        fail_open: spec.fail_open,
        status_on_error: status.unwrap_or(StatusCode::FORBIDDEN),
        protocol: http.map_or(CheckProtocol::Grpc, CheckProtocol::Http),
    })
}

fn status(text: &str, path: &Path, notes: &mut Notes<'_>) -> StatusCode {
    let known = text.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
    known.filter(|status| status.as_u16() >= 200).unwrap_or_else(|| {
        notes.invalid("invalid-value", path, format!("`{text}` is not a status that ends a request: 200 to 999"));
        StatusCode::FORBIDDEN
    })
}

/// `[namespace/]host`. A name of two labels is a Service and its namespace, which a resolver would find too.
fn host(
    (source, raw): (&Scope<'_>, &Raw<'_>),
    text: &str,
    path: &Path,
    notes: &mut Notes<'_>,
) -> Option<crate::vocab::Hostname> {
    let host = text.split_once('/').map_or(text, |(_, host)| host);
    let parts: Vec<&str> = host.split('.').collect();
    let found = match parts[..] {
        [service, namespace] => name::destination_host(
            service,
            name::Lookup { namespace, cluster_domain: source.lookup(raw).cluster_domain },
        ),
        [_, _, "svc"] => {
            name::destination_host(&format!("{host}.{}", source.lookup(raw).cluster_domain), source.lookup(raw))
        }
        [_] => Err(format!("`{text}` does not say a namespace: write <service>.<namespace>.svc.cluster.local")),
        _ => name::destination_host(host, source.lookup(raw)),
    };
    found.map_err(|what| notes.invalid("invalid-host", path, what)).ok()
}

fn check(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> HttpCheck {
    let patterns = |texts: &[String]| texts.iter().map(|text| NamePattern::new(text)).collect::<Box<[_]>>();
    let mut additional = Vec::new();
    for (key, text) in &spec.include_additional_headers_in_check {
        match (header::changeable(key), header::value(text)) {
            (Ok(name), Ok(value)) => additional.push((name, value)),
            (Err(what), _) | (_, Err(what)) => {
                notes.error("invalid-header", &path.key("includeAdditionalHeadersInCheck").key(key), what);
            }
        }
    }
    let asked = [spec.include_request_headers_in_check.as_slice(), &spec.include_headers_in_check].concat();
    HttpCheck {
        path_prefix: spec.path_prefix.as_str().into(),
        request_headers: patterns(&asked),
        additional: additional.into(),
        upstream_on_allow: patterns(&spec.headers_to_upstream_on_allow),
        downstream_on_deny: patterns(&spec.headers_to_downstream_on_deny),
        downstream_on_allow: patterns(&spec.headers_to_downstream_on_allow),
    }
}
