//! Findings of one document, each with `file:line:column`.

use super::path::Path;
use super::yaml::{Node, Place};
use crate::model::{Finding, Origin, Severity};

/// A finding says at most this much: what is quoted may be anything.
const MAX_MESSAGE: usize = 500;

/// Collects what is to be said about one document.
pub struct Notes<'a> {
    file: &'a str,
    root: &'a Node,
    findings: Vec<Finding>,
}

impl<'a> Notes<'a> {
    /// Notes on the document `root` of `file`.
    pub fn new(file: &'a str, root: &'a Node) -> Self {
        Self { file, root, findings: Vec::new() }
    }

    /// Something at `path` is not in force as written. The place is the field's.
    pub fn error(&mut self, code: &'static str, path: &Path, what: impl AsRef<str>) {
        self.add((Severity::Error, code), self.root.place_of(path), path, what.as_ref());
    }

    /// Something at `path` works otherwise than written. The place is the field's.
    pub fn warning(&mut self, code: &'static str, path: &Path, what: impl AsRef<str>) {
        self.add((Severity::Warning, code), self.root.place_of(path), path, what.as_ref());
    }

    /// The value at `path` is not one that this field can have.
    pub fn invalid(&mut self, code: &'static str, path: &Path, what: impl AsRef<str>) {
        self.add((Severity::Error, code), self.root.value_place_of(path), path, what.as_ref());
    }

    /// Where the field at `path` stands, for messages of later stages.
    pub fn origin(&self, path: &Path) -> Origin {
        Origin(at(self.file, self.root.place_of(path)).into())
    }

    /// How many errors were noted: the same number before and after a step means that it went well.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// The findings.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    fn add(&mut self, (severity, code): (Severity, &'static str), place: Place, path: &Path, what: &str) {
        let path = path.to_string();
        let text = if path.is_empty() { what.to_owned() } else { format!("{path}: {what}") };
        self.findings.push(finding(severity, code, at(self.file, place), &text));
    }
}

/// `file:line:column`.
pub fn at(file: &str, place: Place) -> String {
    format!("{file}:{}:{}", place.line, place.column)
}

/// A finding with its message on one line and of bounded length.
pub fn finding(severity: Severity, code: &'static str, at: String, message: &str) -> Finding {
    let mut text: String = message.chars().take(MAX_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() < message.len() {
        text.push('…');
    }
    Finding { severity, code, at, message: text }
}
