//! What a VirtualService may say that is not executed, and what becomes of the rule that says it.
//!
//! Leaving out a redirect would answer a request otherwise than written, so its rule is broken: who it takes is
//! refused. Leaving out a retry or a time limit changes when an answer comes, not which: the rule stays.

use crate::source::notes::Notes;
use crate::source::path::{Path, Step};
use crate::source::pending::{Effect, VIRTUAL_SERVICE, entry, present};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rules that cannot be applied as written, by list (`http`, `tcp`, `tls`) and index.
#[derive(Debug, Default)]
pub struct Broken {
    rules: BTreeMap<(String, usize), Arc<str>>,
    errors: usize,
}

impl Broken {
    /// Notes every field that is not executed: those that are read, and those that are not (paths below `spec`).
    pub fn note(unread: &[Path], (spec, base): (&Value, &Path), notes: &mut Notes<'_>) -> Self {
        let mut broken = Self::default();
        let read = present(VIRTUAL_SERVICE, spec);
        let unread = unread.iter().filter(|path| !read.contains(path));
        for path in read.iter().chain(unread) {
            broken.field(path, &base.join(path), notes);
        }
        broken
    }

    fn field(&mut self, path: &Path, at: &Path, notes: &mut Notes<'_>) {
        let (effect, advice) =
            entry(VIRTUAL_SERVICE, path).map_or((Effect::Breaks, ""), |(_, effect, say)| (*effect, *say));
        match (path.steps(), effect) {
            ([Step::Key(list), Step::Index(index), rest @ ..], Effect::Breaks) => {
                notes.error("unsupported-field", at, refused(list, advice));
                let mut keys = rest.iter().filter_map(|step| match step {
                    Step::Key(key) => Some(key.as_str()),
                    Step::Index(_) => None,
                });
                let field = keys.next_back().unwrap_or(list);
                self.mark(list, *index, format!("{field} is not supported"));
            }
            ([_, _, _, ..], _) => notes.warning("unsupported-field", at, ignored(advice)),
            _ => notes.warning("unsupported-field", at, "is not supported yet and is ignored"),
        }
    }

    /// Breaks a rule for a reason that was noted as an error after `note`.
    pub fn add(&mut self, list: &str, index: usize, why: String) {
        self.mark(list, index, why);
        self.errors += 1;
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

fn ignored(advice: &str) -> String {
    match advice {
        "" => "is not supported yet and is ignored; the rest of the rule is in force".to_owned(),
        _ => format!("is not supported and is ignored: {advice}"),
    }
}

/// What happens to whom a broken rule takes.
fn refused(list: &str, advice: &str) -> String {
    let effect = match list {
        "http" => "is not supported yet, and leaving it out would change the answer: requests of this rule get 500",
        _ => {
            "is not supported yet, and leaving it out would change where it goes: connections of this rule are refused"
        }
    };
    match advice {
        "" => effect.to_owned(),
        _ => format!("{effect} ({advice})"),
    }
}
