//! Findings as people, programs and GitHub's runners read them.

use crate::model::{Finding, Severity};
use crate::source::Text;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;

/// A source line is shown up to this width, around its place: JSON may be one line.
const WIDTH: usize = 120;

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: each finding with its source line.
    #[value(alias = "table")]
    Text,
    /// An array of objects.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Report<'a> {
    texts: &'a [Text],
    objects: usize,
    findings: Vec<Placed>,
    ignored: usize,
}

/// A finding, and where that is.
#[derive(Debug)]
struct Placed {
    finding: Finding,
    file: String,
    line: usize,
    column: usize,
}

impl<'a> Report<'a> {
    /// Findings in the order of the files and lines, each once.
    pub(super) fn new(texts: &'a [Text], objects: usize, findings: Vec<Finding>, ignored: usize) -> Self {
        let order: HashMap<&str, usize> = texts.iter().enumerate().map(|(at, text)| (text.name.as_str(), at)).collect();
        let mut findings: Vec<Placed> = findings.into_iter().map(placed).collect();
        findings.sort_by(|a, b| {
            let file = |one: &Placed| order.get(one.file.as_str()).copied().unwrap_or(usize::MAX);
            let key = |one: &Placed| (file(one), one.line, one.column);
            key(a).cmp(&key(b)).then_with(|| a.finding.cmp(&b.finding))
        });
        findings.dedup_by(|a, b| a.finding == b.finding);
        Self { texts, objects, findings, ignored }
    }

    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|one| one.finding.severity == severity).count()
    }

    /// The whole report.
    pub fn print(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => format!("{:#}\n", self.findings.iter().map(|one| self.json(one)).collect::<Value>()),
            Format::Github => self.findings.iter().map(github).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for one in &self.findings {
            let Finding { severity, code, at, message } = &one.finding;
            put(&mut text, format_args!("{at}: {}: {message} [{code}]\n", word(*severity)));
            if let Some(line) = self.line(one) {
                put(&mut text, format_args!("{}\n", excerpt(line, one.line, one.column)));
            }
        }
        put(&mut text, format_args!("{}\n", self.summary()));
        text
    }

    /// One line: how much was read and found.
    pub fn summary(&self) -> String {
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let read = format!("{} in {}", many(self.objects, "object"), many(self.texts.len(), "file"));
        let ignored = if self.ignored > 0 { format!(", {} ignored", self.ignored) } else { String::new() };
        format!("{read}: {}, {}{ignored}", many(errors, "error"), many(warnings, "warning"))
    }

    fn json(&self, one: &Placed) -> Value {
        let Finding { severity, code, message, .. } = &one.finding;
        let (line, column) = ((one.line > 0).then_some(one.line), (one.column > 0).then_some(one.column));
        json!({
            "severity": severity,
            "code": code,
            "file": one.file,
            "line": line,
            "column": column,
            "message": message,
            "source": self.line(one),
        })
    }

    fn line(&self, one: &Placed) -> Option<&str> {
        let text = self.texts.iter().find(|text| text.name == one.file)?;
        text.text.lines().nth(one.line.checked_sub(1)?)
    }
}

/// `file:line:column` apart; what stands elsewhere keeps its whole text as file.
fn placed(finding: Finding) -> Placed {
    let mut parts = finding.at.rsplitn(3, ':');
    let (column, line, file) = (parts.next(), parts.next(), parts.next());
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<usize>().ok());
    match (number(column), number(line), file) {
        (Some(column), Some(line), Some(file)) => Placed { file: file.to_owned(), line, column, finding },
        _ => Placed { file: finding.at.clone(), line: 0, column: 0, finding },
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The line, and a caret below its column.
fn excerpt(line: &str, number: usize, column: usize) -> String {
    let at = column.saturating_sub(1);
    let skip = if line.chars().count() > WIDTH { at.saturating_sub(WIDTH / 2) } else { 0 };
    // A control character must not reach the terminal, and the caret has to stand below its place.
    let shown: String = line.chars().skip(skip).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let number = number.to_string();
    let (margin, before) = (" ".repeat(number.len()), " ".repeat(at - skip));
    format!("  {number} | {}\n  {margin} | {before}^", shown.trim_end())
}

/// A workflow command; its parameters and its message have their own escapes.
fn github(one: &Placed) -> String {
    let Finding { severity, code, message, .. } = &one.finding;
    let message = message.replace('%', "%25").replace(['\r', '\n'], " ");
    let file = one.file.replace('%', "%25").replace(':', "%3A").replace(',', "%2C");
    let place = match one.line {
        0 => String::new(),
        line => format!(",line={line},col={}", one.column),
    };
    format!("::{} file={file}{place},title={code}::{message}\n", word(*severity))
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a String does not fail");
}
