//! What a VirtualService may say that is not implemented, and what becomes of the rule that says it.
//!
//! Leaving out a redirect would answer a request otherwise than written, so its rule is broken: who it takes is
//! refused. Leaving out a retry or a time limit changes when an answer comes, not which: the rule stays.

use crate::source::decode::find;
use crate::source::notes::Notes;
use crate::source::path::{Path, Step};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields whose absence leaves every answer what it was.
const HARMLESS: &[&str] = &[
    "timeout",
    "retries",
    "mirror",
    "mirrors",
    "mirrorPercent",
    "mirrorPercentage",
    "mirror_percent",
    "corsPolicy",
    "statPrefix",
];

/// Rules that cannot be applied as written, by list (`http`, `tcp`) and index.
#[derive(Debug, Default)]
pub struct Broken {
    rules: BTreeMap<(String, usize), Arc<str>>,
    errors: usize,
}

impl Broken {
    /// Notes every field that is not implemented (paths below `spec`).
    pub fn note(paths: &[Path], (spec, base): (&Value, &Path), notes: &mut Notes<'_>) -> Self {
        let mut broken = Self::default();
        for path in paths {
            let at = base.join(path);
            let [Step::Key(list), Step::Index(index), ..] = path.steps() else {
                notes.warning("unsupported-field", &at, "is not supported yet and is ignored");
                continue;
            };
            match (list.as_str(), path.last_key()) {
                // All of `tls` is noted rule by rule, see `l4`.
                ("tls", _) => {}
                (_, "fault") => broken.fault(find(spec, path), (list, *index), &at, notes),
                (_, field) if HARMLESS.contains(&field) => harmless(&at, notes),
                (_, field) => {
                    notes.error("unsupported-field", &at, refused(list));
                    broken.mark(list, *index, format!("{field} is not supported"));
                }
            }
        }
        broken
    }

    /// A delay changes when an answer comes; an abort is an answer.
    fn fault(&mut self, fault: Option<&Value>, (list, index): (&str, usize), at: &Path, notes: &mut Notes<'_>) {
        for key in fault.and_then(Value::as_object).into_iter().flat_map(|fault| fault.keys()) {
            match key.as_str() {
                "delay" => harmless(&at.key(key), notes),
                _ => {
                    notes.error("unsupported-field", &at.key(key), refused(list));
                    self.mark(list, index, format!("fault.{key} is not supported"));
                }
            }
        }
    }

    /// Breaks a rule for a reason that was noted as `errors` errors after `note`.
    pub fn add(&mut self, list: &str, index: usize, why: String, errors: usize) {
        self.mark(list, index, why);
        self.errors += errors;
    }

    /// Why a rule is broken; the first reason.
    pub fn reason(&self, list: &str, index: usize) -> Option<Arc<str>> {
        self.rules.get(&(list.to_owned(), index)).cloned()
    }

    /// How many errors `add` accounts for: they break rules and leave the object in force.
    pub fn errors_of_rules(&self) -> usize {
        self.errors
    }

    fn mark(&mut self, list: &str, index: usize, why: String) {
        self.rules.entry((list.to_owned(), index)).or_insert_with(|| why.into());
    }
}

fn harmless(at: &Path, notes: &mut Notes<'_>) {
    notes.warning("unsupported-field", at, "is not supported yet and is ignored; the rest of the rule is in force");
}

/// What happens to whom a broken rule takes.
pub fn refused(list: &str) -> &'static str {
    match list {
        "http" => "is not supported yet, and leaving it out would change the answer: requests of this rule get 500",
        _ => {
            "is not supported yet, and leaving it out would change where it goes: connections of this rule are refused"
        }
    }
}
