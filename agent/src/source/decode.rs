//! From a JSON value to a typed one, with every problem placed: unknown fields, fields not supported, wrong types.

use super::notes::Notes;
use super::path::Path;
use super::schema::{Known, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Structs as they are written: every field may be left out.
macro_rules! raw {
    ($(#[$attribute:meta])* $name:ident { $($(#[$field:meta])* $key:ident: $kind:ty),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field])* pub $key: $kind,)*
        }
    };
}
pub(super) use raw;

/// Whether fields that the type does not read are looked up in a schema.
#[derive(Clone, Copy)]
pub enum Strictness {
    /// Other fields exist and do not matter (objects that a cluster's own components write).
    Lenient,
    /// A field that the schema does not have is an error.
    Strict(&'static Schema),
}

/// What was read.
pub struct Decoded<T> {
    /// The value.
    pub value: T,
    /// Fields that the API has and that are not implemented, as paths below the decoded value.
    pub unsupported: Vec<Path>,
}

/// Reads the value at `base`. `None` where it cannot be used; the reason is in the notes.
pub fn decode<T: DeserializeOwned>(
    value: &Value,
    base: &Path,
    strictness: Strictness,
    notes: &mut Notes<'_>,
) -> Option<Decoded<T>> {
    let mut ignored = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let result = serde_ignored::deserialize(tracked, |path| ignored.push(Path::from(&path)));
    let before = notes.errors();
    let unsupported = match strictness {
        Strictness::Lenient => Vec::new(),
        Strictness::Strict(schema) => sift(ignored, (value, base), schema, notes),
    };
    match result {
        Err(error) => {
            let path = base.join(&Path::from(&track.path()));
            notes.invalid(code(&error), &path, explain(&error));
            None
        }
        Ok(_) if notes.errors() > before => None,
        Ok(value) => Some(Decoded { value, unsupported }),
    }
}

/// Notes the fields that do not exist, and returns those that do.
fn sift(ignored: Vec<Path>, (value, base): (&Value, &Path), schema: &Schema, notes: &mut Notes<'_>) -> Vec<Path> {
    let mut unsupported = Vec::new();
    for path in ignored {
        match schema.knows(&path) {
            Known::No(meant) => unknown(&base.join(&path), meant, notes),
            Known::Yes => {
                let inside = find(value, &path).map_or_else(Vec::new, |value| schema.unknown_inside(&path, value));
                for (path, meant) in inside {
                    unknown(&base.join(&path), meant, notes);
                }
                unsupported.push(path);
            }
        }
    }
    unsupported
}

/// Whether the API has every field of a value; those that it has not are noted. For types whose fields are read by more
/// kinds than have them.
pub fn known(schema: &Schema, value: &Value, base: &Path, notes: &mut Notes<'_>) -> bool {
    let unknown_fields = schema.unknown_inside(&Path::root(), value);
    for (path, meant) in &unknown_fields {
        unknown(&base.join(path), *meant, notes);
    }
    unknown_fields.is_empty()
}

fn unknown(path: &Path, meant: Option<&str>, notes: &mut Notes<'_>) {
    let hint = meant.map_or_else(|| "remove it".to_owned(), |meant| format!("did you mean `{meant}`?"));
    notes.error("unknown-field", path, format!("there is no such field; {hint}"));
}

/// The part of `value` at `path`.
pub fn find<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    use super::path::Step;
    path.steps().iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

fn code(error: &serde_json::Error) -> &'static str {
    if error.to_string().starts_with("missing field") { "missing-field" } else { "invalid-type" }
}

/// Serde's words in those of someone who writes YAML.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((found, expected)) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    else {
        return text;
    };
    let wanted = match expected {
        "a sequence" => "a list",
        "a map" => "a map",
        "i64" | "i32" | "u32" | "u16" => "an integer",
        other if other.starts_with("struct ") => "a map",
        other => other,
    };
    let quoted = wanted == "a string" && !found.starts_with(['m', 's']);
    let hint = if quoted { "; put it in quotes" } else { "" };
    let found = match found {
        "sequence" => "a list",
        "map" => "a map",
        other => other,
    };
    format!("has to be {wanted}, but is {found}{hint}")
}
