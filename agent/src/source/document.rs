//! A file's text to items: finds the documents and objects in it and hands each to its kind.

use super::decode::{Strictness, decode};
use super::item::{FileContent, Item, ItemKey, Metadata, Outcome, Raw};
use super::kinds::{ItemKind, Use, classify};
use super::notes::{Notes, at, finding};
use super::path::Path;
use super::schema::{METADATA, nearest};
use super::yaml::{self, Node, SyntaxError};
use super::{
    Scope, authorization_policy, credential, destination_rule, endpoint_slice, gateway, mesh_config, name, namespace,
    node, peer_authentication, pod, request_authentication, salvage,
};
use super::{service, sidecar, split, virtual_service};
use crate::model::{CredentialKind, Kind, ObjectId, Severity};
use serde_json::Value;

/// Where an object is that does not say.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// A file gets at most this many findings, so that garbage cannot fill the agent's memory.
const MAX_FINDINGS: usize = 200;

/// Reads a whole file.
pub fn read(scope: &Scope<'_>, file: &str, text: &str) -> FileContent {
    let mut content = FileContent::default();
    for part in split::split(text) {
        match yaml::parse(part.text, part.line) {
            Ok(None) => {}
            Ok(Some(root)) => document(scope, file, &root, &mut content),
            Err(error) => broken(scope, file, (&part, &error), &mut content),
        }
        if content.findings.len() > MAX_FINDINGS {
            content.findings.truncate(MAX_FINDINGS);
            let what = format!("more than {MAX_FINDINGS} findings: the rest of the file was not read");
            content.findings.push(finding(
                Severity::Error,
                "too-many-findings",
                format!("{file}:{}:1", part.line),
                &what,
            ));
            content.unreadable = true;
            break;
        }
    }
    content
}

fn broken(scope: &Scope<'_>, file: &str, (part, error): (&split::Part<'_>, &SyntaxError), content: &mut FileContent) {
    let place = at(file, error.place);
    let what = format!("{}; what was last good of this document stays in force", error.what);
    content.findings.push(finding(Severity::Error, "syntax", place.clone(), &what));
    content.unreadable = true;
    content.nameless += 1;
    if let Some((item, what)) = salvage::policy(scope, part.text, &place) {
        content.findings.push(finding(Severity::Error, "policy-denies", place, &what));
        content.items.push(item);
    }
}

fn document(scope: &Scope<'_>, file: &str, root: &Node, content: &mut FileContent) {
    let mut notes = Notes::new(file, root);
    let value = root.to_value();
    object(scope, (&value, Path::root()), &mut notes, content);
    content.findings.extend(notes.into_findings());
}

/// Reads one object, or a list of them.
fn object(scope: &Scope<'_>, (value, path): (&Value, Path), notes: &mut Notes<'_>, content: &mut FileContent) {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind.is_empty() {
        notes.invalid("not-an-object", &path, "this is not a Kubernetes object: it needs apiVersion and kind");
        content.nameless += 1;
        content.unreadable = true;
        return;
    }
    if kind.ends_with("List") && value.get("items").is_some_and(Value::is_array) {
        return list(scope, (value, path), notes, content);
    }
    match classify(api_version, kind) {
        Use::NotOurs => {}
        Use::Read(kind) => match item(scope, kind, (value, &path), notes) {
            Some(item) => content.items.push(item),
            None => {
                content.nameless += 1;
                content.unreadable = true;
            }
        },
        Use::Unsupported(severity, why) => {
            unsupported(severity, &format!("{kind} {} {why}", name_of(value)), &path, notes)
        }
        Use::Unknown(hint) => {
            notes.invalid("unknown-kind", &path.key("kind"), format!("{kind} of {api_version} is not known: {hint}"));
            content.nameless += 1;
            let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(DEFAULT_NAMESPACE);
            content.of_unknown_kind.push(ObjectId { namespace: namespace.into(), name: name_of(value).into() });
        }
    }
}

fn unsupported(severity: Severity, what: &str, path: &Path, notes: &mut Notes<'_>) {
    match severity {
        Severity::Error => notes.error("unsupported-kind", path, what),
        Severity::Warning => notes.warning("unsupported-kind", path, what),
    }
}

fn name_of(value: &Value) -> &str {
    value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// `kind: List`, or a typed list (`PodList`) whose items may leave out what the list says of them.
fn list(scope: &Scope<'_>, (value, path): (&Value, Path), notes: &mut Notes<'_>, content: &mut FileContent) {
    let path = path.key("items");
    let kind = value["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).unwrap_or_default();
    for (at, item) in value["items"].as_array().into_iter().flatten().enumerate() {
        let mut item = item.clone();
        if let Some(fields) = item.as_object_mut().filter(|_| !kind.is_empty()) {
            fields.entry("kind").or_insert_with(|| kind.into());
            fields.entry("apiVersion").or_insert_with(|| value["apiVersion"].clone());
        }
        object(scope, (&item, path.index(at)), notes, content);
        if notes.len() > MAX_FINDINGS {
            return;
        }
    }
}

/// `None`: not even its name can be read.
fn item(scope: &Scope<'_>, kind: ItemKind, (value, path): (&Value, &Path), notes: &mut Notes<'_>) -> Option<Item> {
    let before = notes.errors();
    unknown_top_fields(kind, value, path, notes);
    let meta_path = path.key("metadata");
    let empty = Value::Object(serde_json::Map::new());
    let meta_value = value.get("metadata").unwrap_or(&empty);
    let strictness = Strictness::Strict(&METADATA);
    let meta = decode::<Metadata>(meta_value, &meta_path, strictness, notes).map(|decoded| decoded.value);
    let id = identify(kind, meta_value, &meta_path, notes)?;
    let key = ItemKey { kind, id: id.clone() };
    let readable = meta.is_some() && notes.errors() == before;
    let meta = meta.unwrap_or_default();
    let raw = Raw { meta: &meta, id, value, path: path.clone() };
    let at = raw.origin(notes);
    let outcome = match kind {
        ItemKind::Mesh(Kind::PeerAuthentication) => peer_authentication::read(scope, &raw, readable, notes),
        ItemKind::Mesh(Kind::AuthorizationPolicy) => authorization_policy::read(scope, &raw, readable, notes),
        ItemKind::Mesh(Kind::RequestAuthentication) => request_authentication::read(scope, &raw, readable, notes),
        _ if !readable => Outcome::Refused,
        _ => content_of(scope, kind, &raw, notes),
    };
    Some(Item { key, at, outcome })
}

fn content_of(scope: &Scope<'_>, kind: ItemKind, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Outcome {
    let meaning = match kind {
        ItemKind::Namespace => namespace::read(raw, notes),
        ItemKind::Node => Some(node::read(raw)),
        ItemKind::Mesh(Kind::Workload) => pod::read(raw, notes),
        ItemKind::Mesh(Kind::Service) => service::read(scope, raw, notes),
        ItemKind::Mesh(Kind::EndpointSlice) => endpoint_slice::read(scope, raw, notes),
        ItemKind::Mesh(Kind::VirtualService) => virtual_service::read(scope, raw, notes),
        ItemKind::Mesh(Kind::DestinationRule) => destination_rule::read(scope, raw, notes),
        ItemKind::Mesh(Kind::Route(kind)) => gateway::route(kind, scope, raw, notes),
        ItemKind::Mesh(Kind::ReferenceGrant) => gateway::reference_grant(raw, notes),
        ItemKind::Mesh(Kind::Credential(CredentialKind::ConfigMap)) if mesh_config::is_it(scope, &raw.id) => {
            mesh_config::read(scope, raw, notes)
        }
        ItemKind::Mesh(Kind::Credential(kind)) => credential::read(kind, raw, notes),
        ItemKind::Mesh(Kind::BackendTlsPolicy) => gateway::backend_tls_policy(scope, raw, notes),
        ItemKind::Mesh(Kind::Sidecar) => sidecar::read(scope, raw, notes),
        ItemKind::Mesh(Kind::PeerAuthentication) => {
            return peer_authentication::read(scope, raw, true, notes);
        }
        ItemKind::Mesh(Kind::AuthorizationPolicy) => {
            return authorization_policy::read(scope, raw, true, notes);
        }
        ItemKind::Mesh(Kind::RequestAuthentication) => {
            return request_authentication::read(scope, raw, true, notes);
        }
    };
    meaning.map_or(Outcome::Refused, Outcome::Ready)
}

/// The object's namespace and name, as far as they can be told apart from others.
fn identify(kind: ItemKind, meta: &Value, path: &Path, notes: &mut Notes<'_>) -> Option<ObjectId> {
    let text = |key: &str| meta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(name) = text("name") else {
        if meta.get("name").is_none() {
            notes.error("missing-field", path, "`name` is missing: every object has one");
        }
        return None;
    };
    let namespace = match kind {
        ItemKind::Namespace | ItemKind::Node => "",
        ItemKind::Mesh(_) => text("namespace").unwrap_or(DEFAULT_NAMESPACE),
    };
    if !name::is_subdomain(name) {
        let what = format!("`{name}` is not a name: a-z, 0-9, `-` and `.`");
        notes.invalid("invalid-name", &path.key("name"), what);
    }
    if !matches!(kind, ItemKind::Namespace | ItemKind::Node) && !name::is_label(namespace) {
        let what = format!("`{namespace}` is not a namespace: a-z, 0-9 and `-`, at most 63");
        notes.invalid("invalid-name", &path.key("namespace"), what);
    }
    Some(ObjectId { namespace: namespace.into(), name: name.into() })
}

/// The fields beside `metadata`: a misspelt `spec` must not pass for an empty one.
fn unknown_top_fields(kind: ItemKind, value: &Value, path: &Path, notes: &mut Notes<'_>) {
    let fields: &[&str] = match kind {
        ItemKind::Mesh(Kind::EndpointSlice) => &["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"],
        ItemKind::Mesh(Kind::Credential(_)) => {
            &["apiVersion", "kind", "metadata", "data", "stringData", "binaryData", "immutable", "type"]
        }
        _ => &["apiVersion", "kind", "metadata", "spec", "status"],
    };
    for key in value.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !fields.contains(&key.as_str()) {
            let hint = nearest(key, fields).map_or("remove it".to_owned(), |meant| format!("did you mean `{meant}`?"));
            notes.error("unknown-field", &path.key(key), format!("there is no such field; {hint}"));
        }
    }
}
