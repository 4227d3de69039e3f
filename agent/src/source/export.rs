//! `exportTo`: which namespaces see an object.

use super::item::Raw;
use super::name;
use super::notes::Notes;
use super::path::Path;
use crate::vocab::Namespace;

/// The namespaces, empty for all of them, with `.` resolved. `None`: nobody sees it (`~`).
pub fn export_to(raw: &[String], path: &Path, object: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Vec<Namespace>> {
    let mut namespaces: Vec<Namespace> = Vec::new();
    for (at, text) in raw.iter().enumerate() {
        match text.as_str() {
            "*" => return Some(Vec::new()),
            "." => namespaces.push(object.id.namespace.clone()),
            "~" => {}
            name if name::is_label(name) => namespaces.push(name.into()),
            other => {
                let what = format!("`{other}` is not a namespace, nor `.` (this one) or `*` (all)");
                notes.invalid("invalid-value", &path.index(at), what);
            }
        }
    }
    if namespaces.is_empty() && !raw.is_empty() {
        return None;
    }
    Some(namespaces)
}
