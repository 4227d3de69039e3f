//! Prometheus text as samples that can be asked.

use std::collections::BTreeMap;

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `istio_requests_total`.
    pub name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// All samples of an agent at one moment.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Reads the text format; lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Sum over the samples of that name whose labels hold all of these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples of that name whose labels hold all of these.
    pub fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        let fits = move |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(fits)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, tail) = match line.find('{') {
        Some(open) => (&line[..open], &line[open + 1..]),
        None => {
            let (name, value) = line.split_once(' ')?;
            return Some(Sample { name: name.to_owned(), labels: BTreeMap::new(), value: number(value)? });
        }
    };
    let mut labels = BTreeMap::new();
    let mut rest = tail;
    while !rest.starts_with('}') {
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(key.trim_start_matches(',').trim().to_owned(), value);
        rest = after;
    }
    Some(Sample { name: head.to_owned(), labels, value: number(rest.get(1..)?)? })
}

// Up to the closing quote; `\\`, `\"` and `\n` are the format's escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next().map(|(_, next)| if next == 'n' { '\n' } else { next })?),
            char => value.push(char),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_over_matching_labels() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"q \\\"}\"} 2\na{x=\"1\"} 3 # {} 1\na{x=\"2\"} 4\nb 1.5\n";
        let samples = Samples::parse(text);
        assert_eq!(samples.0.len(), 4);
        assert_eq!(samples.sum("a", &[("x", "1")]), 5.0);
        assert_eq!(samples.0[0].labels["y"], "q \"}");
        assert_eq!(samples.sum("b", &[]), 1.5);
    }
}
