//! Checks, as a table and as JSON.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};

/// All checks so far.
#[derive(Default)]
pub struct Outcome(Vec<Check>);

struct Check {
    name: String,
    expected: String,
    observed: String,
    pass: bool,
}

impl Outcome {
    /// Adds a check: what was observed and whether that is right; an error is a failed check.
    pub fn add(&mut self, name: &str, expected: &str, observed: Result<(String, bool)>) {
        let (observed, pass) = observed.unwrap_or_else(|error| (format!("{error:#}"), false));
        println!("{} {name}", if pass { "  ok  " } else { " FAIL " });
        self.0.push(Check { name: name.to_owned(), expected: expected.to_owned(), observed, pass });
    }

    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|check| check.pass)
    }

    /// `{checks: [{name, expected, observed, pass}]}`.
    pub fn json(&self) -> Value {
        let check = |check: &Check| json!({"name": check.name, "expected": check.expected, "observed": check.observed, "pass": check.pass});
        json!({"checks": self.0.iter().map(check).collect::<Vec<_>>()})
    }

    /// One block for each check: long texts do not fit columns.
    pub fn table(&self) -> String {
        let mut text = String::from("\n");
        let rule = "-".repeat(100);
        for check in &self.0 {
            let _ = writeln!(text, "{rule}\n{}  {}", if check.pass { "PASS" } else { "FAIL" }, check.name);
            let _ = writeln!(text, "      expected  {}", check.expected);
            let _ = writeln!(text, "      observed  {}", check.observed.replace('\n', "\n                "));
        }
        let passed = self.0.iter().filter(|check| check.pass).count();
        let _ = writeln!(text, "{rule}\n{passed} of {} checks passed", self.0.len());
        text
    }
}
