//! Prometheus text format 0.0.4: what a scrape returns.
//!
//! Written here and not by a metrics crate because the labels of a series are rendered once, when it is made, and
//! shared by all its families: a scrape copies them, and the data path never hashes them.

use super::histogram::{BOUNDS, Reading};
use std::fmt::{self, Display, Write};

/// The media type to answer with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family measures.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// Labels of a series, rendered and escaped: `a="b",c="d"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(String);

impl Labels {
    /// Appends a label.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        write!(Escape(&mut self.0), "{value}").expect("writing to a String does not fail");
        self.0.push('"');
        self
    }

    /// The rendered text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// A page in the making. Samples belong to the family begun last.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// More samples of a family that another page began.
    pub fn more(name: &'static str) -> Self {
        Self { text: String::new(), name }
    }

    /// Begins a family.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample.
    pub fn sample(&mut self, labels: &str, value: impl Display) {
        let name = self.name;
        if labels.is_empty() {
            self.put(format_args!("{name} {value}\n"));
            return;
        }
        self.put(format_args!("{name}{{{labels}}} {value}\n"));
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample("", value);
    }

    /// The samples of one histogram.
    pub fn histogram(&mut self, labels: &str, reading: &Reading) {
        let name = self.name;
        for (bound, count) in BOUNDS.iter().zip(&reading.cumulative) {
            self.put(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}\n"));
        }
        let count = reading.cumulative[BOUNDS.len()];
        self.put(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n"));
        self.put(format_args!("{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}\n", reading.sum));
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a String does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_as_the_format_asks() {
        let labels = Labels::default().with("a", "x\"y\\z\nw").with("b", 7);
        assert_eq!(labels.as_str(), r#"a="x\"y\\z\nw",b="7""#);
    }

    #[test]
    fn a_sample_stands_below_its_family() {
        let mut page = Page::default();
        page.single("underpass_up", Kind::Gauge, "Whether it runs.", 1);
        assert_eq!(page.finish(), "# HELP underpass_up Whether it runs.\n# TYPE underpass_up gauge\nunderpass_up 1\n");
    }
}
