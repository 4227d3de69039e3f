//! BackendTLSPolicy: TLS to the endpoints of a Service.

use super::raw::{BackendTls, LocalRef, SubjectAltName, TargetRef, Validation};
use super::spec;
use crate::model::backend_tls_policy::PolicyTarget;
use crate::model::traffic_policy::{ClientTls, ClientTlsMode, Roots, SubjectName};
use crate::model::workload::service_host;
use crate::model::{BackendTlsPolicy, Object, ObjectId};
use crate::source::Scope;
use crate::source::item::{Meaning, Raw};
use crate::source::name;
use crate::source::notes::Notes;
use crate::source::path::Path;
use crate::source::schema::BACKEND_TLS_POLICY;
use std::sync::Arc;

/// Why a policy cannot be applied: the reason of its status, and the text.
type Broken = Option<(&'static str, Arc<str>)>;

/// Reads a BackendTLSPolicy.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (decoded, path) = spec::<BackendTls>(raw, &BACKEND_TLS_POLICY, notes)?;
    for ignored in &decoded.unsupported {
        notes.warning("unsupported-field", &path.join(ignored), "there are no options here: it is ignored");
    }
    let before = notes.errors();
    let targets = targets(&decoded.value.target_refs, (scope, raw, &path), notes);
    let (tls, broken, soft) = validation(&decoded.value.validation, raw, &path.key("validation"), notes);
    if notes.errors() > before + soft {
        return None;
    }
    let (id, origin, age) = (raw.id.clone(), raw.origin(notes), super::age(raw));
    Some(Meaning::object(Object::BackendTlsPolicy(BackendTlsPolicy { id, origin, age, targets, tls, broken })))
}

fn targets(
    raw: &[TargetRef],
    (scope, object, spec): (&Scope<'_>, &Raw<'_>, &Path),
    notes: &mut Notes<'_>,
) -> Vec<PolicyTarget> {
    let path = spec.key("targetRefs");
    if raw.is_empty() {
        notes.error("missing-field", spec, "`targetRefs` is missing: name the Service that the policy is for");
    }
    let mut targets: Vec<PolicyTarget> = Vec::with_capacity(raw.len());
    for (at, raw) in raw.iter().enumerate() {
        let path = path.index(at);
        let service = matches!(raw.group.as_str(), "" | "core") && raw.kind == "Service";
        if !name::is_subdomain(&raw.name) {
            notes.error("invalid-name", &path, format!("`{}` is not a name: a-z, 0-9 and `-`", raw.name));
        } else if !service {
            let what = format!("{} cannot be a target: only a Service can (group: \"\", kind: Service)", raw.kind);
            notes.warning("unsupported-target", &path, what);
        }
        let section_name: Option<Arc<str>> = raw.section_name.as_deref().map(Into::into);
        let same = |other: &&PolicyTarget| {
            (&*other.group, &*other.kind, &*other.name) == (&*raw.group, &*raw.kind, &*raw.name)
                && (other.section_name == section_name || other.section_name.is_some() != section_name.is_some())
        };
        if targets.iter().any(|other| same(&other)) {
            let what = "another one refers to the same target: give each its own sectionName";
            notes.error("duplicate-target", &path, what);
        }
        let host = service_host(&raw.name, object.id.namespace.as_str(), scope.cluster_domain);
        targets.push(PolicyTarget {
            host: service.then_some(host),
            group: raw.group.as_str().into(),
            kind: raw.kind.as_str().into(),
            name: raw.name.as_str().into(),
            section_name,
            origin: notes.origin(&path),
        });
    }
    targets
}

/// What is asked of the certificate, why that cannot be done, and how many errors that was.
fn validation(raw: &Validation, object: &Raw<'_>, path: &Path, notes: &mut Notes<'_>) -> (ClientTls, Broken, usize) {
    if raw.hostname.is_empty() {
        notes.error("missing-field", path, "`hostname` is missing: it is the name that the server is asked for");
    } else if !name::is_subdomain(&raw.hostname) {
        let what = format!("`{}` is not a host name: labels of a-z, 0-9 and `-`, with dots between them", raw.hostname);
        notes.invalid("invalid-host", &path.key("hostname"), what);
    }
    let mut names = Vec::with_capacity(raw.subject_alt_names.len());
    for (at, raw) in raw.subject_alt_names.iter().enumerate() {
        names.extend(subject_name(raw, &path.key("subjectAltNames").index(at), notes));
    }
    let before = notes.errors();
    let (roots, broken) = roots(raw, object, path, notes);
    let soft = if broken.is_some() { notes.errors() - before } else { 0 };
    let sni = Some(raw.hostname.as_str().into());
    (ClientTls { mode: ClientTlsMode::Simple, sni, names, roots, ..ClientTls::default() }, broken, soft)
}

fn subject_name(raw: &SubjectAltName, path: &Path, notes: &mut Notes<'_>) -> Option<SubjectName> {
    match (raw.r#type.as_str(), &raw.hostname, &raw.uri) {
        ("Hostname", Some(host), None) => Some(SubjectName::Dns(host.as_str().into())),
        ("URI", None, Some(uri)) => Some(SubjectName::Uri(uri.as_str().into())),
        ("Hostname" | "URI", ..) => {
            let what = "needs hostname with type Hostname, uri with type URI, and nothing else";
            notes.error("invalid-value", path, what);
            None
        }
        (other, ..) => {
            let what = format!("`{other}` is not a type of name: it is Hostname or URI");
            notes.invalid("unsupported-value", &path.key("type"), what);
            None
        }
    }
}

fn roots(raw: &Validation, object: &Raw<'_>, path: &Path, notes: &mut Notes<'_>) -> (Roots, Broken) {
    let refs = path.key("caCertificateRefs");
    let well_known = raw.well_known_ca_certificates.as_deref().filter(|text| !text.is_empty());
    match (raw.ca_certificate_refs.as_slice(), well_known) {
        ([], None) => {
            let what = "names no CA: write caCertificateRefs, or wellKnownCACertificates: System";
            notes.error("missing-field", path, what);
            (Roots::System, None)
        }
        ([], Some("System")) => (Roots::System, None),
        ([], Some(other)) => {
            let why = format!("`{other}` is not a set of CA certificates that is known here: it is System");
            notes.invalid("unsupported-value", &path.key("wellKnownCACertificates"), consequence(&why));
            (nowhere(object), Some(("Invalid", why.into())))
        }
        ([first, others @ ..], None) => {
            if !others.is_empty() {
                let what = "only the first CA counts: put all certificates into one ConfigMap";
                notes.warning("unsupported-value", &refs.index(1), what);
            }
            certificate(first, object, &refs.index(0), notes)
        }
        ([_, ..], Some(_)) => {
            let what = "has both caCertificateRefs and wellKnownCACertificates: keep one";
            notes.error("invalid-value", path, what);
            (Roots::System, None)
        }
    }
}

fn certificate(raw: &LocalRef, object: &Raw<'_>, path: &Path, notes: &mut Notes<'_>) -> (Roots, Broken) {
    let id = ObjectId { namespace: object.id.namespace.clone(), name: raw.name.as_str().into() };
    if raw.name.is_empty() {
        notes.error("missing-field", path, "`name` is missing");
    }
    match (raw.group.as_str(), raw.kind.as_str()) {
        ("" | "core", "ConfigMap") => (Roots::ConfigMap(id), None),
        ("" | "core", "Secret") => (Roots::Secret(id), None),
        _ => {
            let why =
                format!("CA certificates cannot be read from a {}: use a ConfigMap with the key ca.crt", raw.kind);
            notes.error("invalid-kind", path, consequence(&why));
            (nowhere(object), Some(("InvalidKind", why.into())))
        }
    }
}

/// A CA that is nowhere: what needs it fails.
fn nowhere(object: &Raw<'_>) -> Roots {
    Roots::ConfigMap(ObjectId { namespace: object.id.namespace.clone(), name: "".into() })
}

fn consequence(why: &str) -> String {
    format!("{why}; until then connections to the targets of this policy fail")
}
