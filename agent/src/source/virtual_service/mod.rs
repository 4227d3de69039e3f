//! VirtualService: where the requests and connections to a host go.
//!
//! What Istio would refuse (a typo, a bad pattern) refuses the object, and what was last good stays. What Istio has
//! and we do not breaks the rule that has it where leaving it out would change the answer; see `unsupported`.

mod answers;
mod cors;
mod faults;
mod headers;
mod http;
mod l4;
mod matches;
mod mirrors;
mod raw;
mod retries;
mod rewrite;
mod route;
mod unsupported;

use super::Scope;
use super::decode::{Decoded, Strictness, decode};
use super::export::export_to;
use super::item::{Meaning, Raw};
use super::name::{self, Lookup};
use super::notes::Notes;
use super::path::Path;
use super::schema::VIRTUAL_SERVICE;
use crate::model::{Object, VirtualService};
use crate::vocab::Hostname;
use unsupported::Broken;

/// The gateway that means every workload of the mesh.
const MESH: &str = "mesh";

/// What every part of one VirtualService is read with.
struct Reading<'a, 'n> {
    lookup: Lookup<'a>,
    /// Whether rules that do not say for which gateways they are hold in the mesh.
    in_mesh: bool,
    /// Whether others delegate to it, as it has no hosts.
    is_delegate: bool,
    broken: Broken,
    notes: &'a mut Notes<'n>,
}

/// Reads a VirtualService. One for gateways only means nothing in the mesh.
pub fn read(scope: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let (value, path) = raw.part("spec");
    let Decoded { value: spec, unsupported } =
        decode::<raw::Spec>(&value, &path, Strictness::Strict(&VIRTUAL_SERVICE), notes)?;
    let before = notes.errors();
    let is_delegate = spec.hosts.is_empty();
    if is_delegate {
        only_http(&spec, &path, notes);
    }
    let hosts = hosts(&spec.hosts, &path.key("hosts"), scope.lookup(raw), notes);
    let export_to = export_to(&spec.export_to, &path.key("exportTo"), raw, notes);
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        notes.error("missing-field", &path, "there is no rule: write `http`, `tls` or `tcp`");
    }
    if notes.errors() > before {
        return None;
    }
    let in_mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|gateway| gateway == MESH);
    if !in_mesh && !mentions_mesh(&spec) {
        let what =
            "is for gateways, which are not supported yet: it has no effect in the mesh; add `mesh` if it should";
        notes.warning("gateway-route", &path.key("gateways"), what);
        return Some(Meaning::Nothing);
    }
    let broken = Broken::note(&unsupported, (&value, &path), notes);
    let before = notes.errors();
    let mut reading = Reading { lookup: scope.lookup(raw), in_mesh, is_delegate, broken, notes };
    let http = http::rules(&spec.http, &path.key("http"), &mut reading);
    let tls = l4::tls_rules(&spec.tls, &hosts, &path.key("tls"), &mut reading);
    let tcp = l4::tcp_rules(&spec.tcp, &path.key("tcp"), &mut reading);
    // What broke a rule only is in `broken` and is no reason to refuse the object.
    if notes_refuse(&reading, before) {
        return None;
    }
    let Some(export_to) = export_to else {
        return Some(Meaning::Nothing);
    };
    let (id, origin) = (raw.id.clone(), raw.origin(notes));
    Some(Meaning::object(Object::VirtualService(VirtualService { id, origin, hosts, export_to, http, tls, tcp })))
}

/// Whether some rule is for the mesh although the object is not.
fn mentions_mesh(spec: &raw::Spec) -> bool {
    let http = spec.http.iter().flat_map(|rule| &rule.r#match).map(|entry| &entry.gateways);
    let tcp = spec.tcp.iter().flat_map(|rule| &rule.r#match).map(|entry| &entry.gateways);
    let tls = spec.tls.iter().flat_map(|rule| &rule.r#match).map(|entry| &entry.gateways);
    http.chain(tcp).chain(tls).flatten().any(|gateway| gateway == MESH)
}

/// Without hosts it can only be what others delegate to.
fn only_http(spec: &raw::Spec, path: &Path, notes: &mut Notes<'_>) {
    for (field, there) in
        [("gateways", !spec.gateways.is_empty()), ("tls", !spec.tls.is_empty()), ("tcp", !spec.tcp.is_empty())]
    {
        if there {
            let what = "is not for a VirtualService without `hosts`, which others delegate to: add hosts, or remove it";
            notes.error("missing-field", &path.key(field), what);
        }
    }
}

fn notes_refuse(reading: &Reading<'_, '_>, before: usize) -> bool {
    reading.notes.errors() > before + reading.broken.errors_of_rules()
}

fn hosts(raw: &[String], path: &Path, lookup: Lookup<'_>, notes: &mut Notes<'_>) -> Vec<Hostname> {
    let mut hosts = Vec::with_capacity(raw.len());
    for (at, text) in raw.iter().enumerate() {
        match name::host(text, lookup) {
            Ok(host) if hosts.contains(&host) => {
                notes.invalid("duplicate-host", &path.index(at), format!("`{host}` is here twice: remove one"));
            }
            Ok(host) => hosts.push(host),
            Err(what) => notes.invalid("invalid-host", &path.index(at), what),
        }
    }
    hosts
}
