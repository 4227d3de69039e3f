//! Namespace: its labels enrol its pods and name its network.

use super::item::{Meaning, Raw};
use super::notes::Notes;
use super::pod::enrolment_word;

/// Reads a namespace.
pub fn read(raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let before = notes.errors();
    enrolment_word(raw, notes);
    (notes.errors() == before).then(|| Meaning::Namespace(raw.meta.labels.clone()))
}
