//! What a DestinationRule may say that is not executed. The rest of it is in force.

use crate::source::notes::Notes;
use crate::source::path::Path;
use crate::source::pending::{DESTINATION_RULE, Effect, entry, present};
use serde_json::Value;

/// Notes every field that is not executed: those that are read, and those that are not (paths below `spec`).
pub fn note(unread: &[Path], (spec, base): (&Value, &Path), notes: &mut Notes<'_>) {
    let read = present(DESTINATION_RULE, spec);
    let unread = unread.iter().filter(|path| !read.contains(path));
    for path in read.iter().chain(unread) {
        field(path, &base.join(path), notes);
    }
}

fn field(path: &Path, at: &Path, notes: &mut Notes<'_>) {
    let (effect, advice) =
        entry(DESTINATION_RULE, path).map_or((Effect::Ignored, ""), |(_, effect, say)| (*effect, *say));
    match (effect, advice) {
        (Effect::Ignored, "") => notes.warning("unsupported-field", at, "is not supported yet and is ignored"),
        (Effect::Ignored, _) => {
            notes.warning("unsupported-field", at, format!("is not supported and is ignored: {advice}"));
        }
        (Effect::Breaks, "") => notes.error("unsupported-field", at, "is not supported yet and is NOT in force"),
        (Effect::Breaks, _) => {
            notes.error("unsupported-field", at, format!("is not supported and is NOT in force: {advice}"));
        }
    }
}
