//! Which matches of many rules a path may fit, so that a long list of rules is not read for each request.

use super::path::Part;
use crate::model::{HttpMatch, HttpRule, StringMatch};
use regex_syntax::hir::literal::Extractor;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str;

/// The matches of a list of HTTP rules, in their order, found by path.
#[derive(Debug)]
pub struct Index {
    all: Box<[Entry]>,
    /// Texts that paths have to start with, sorted.
    texts: Box<[Text]>,
    /// What no such text can be told of.
    rest: Box<[u32]>,
}

/// One match of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The rule.
    pub rule: usize,
    /// Which of its matches; none where it has none and takes everything.
    pub at: Option<usize>,
}

#[derive(Debug)]
struct Text {
    text: Box<str>,
    /// Ascending indexes of `all`.
    entries: Vec<u32>,
    /// The longest other text that this one starts with.
    shorter: Option<u32>,
}

impl Index {
    /// The index of these rules.
    pub fn new(rules: &[HttpRule]) -> Self {
        let all: Box<[Entry]> = rules.iter().enumerate().flat_map(|(rule, model)| entries(rule, model)).collect();
        let mut texts: BTreeMap<Cow<'_, str>, Vec<u32>> = BTreeMap::new();
        let mut rest = Vec::new();
        for (number, entry) in (0..).zip(&all) {
            let text = entry.of(rules).and_then(start);
            text.map_or(&mut rest, |text| texts.entry(text).or_default()).push(number);
        }
        Self { all, texts: chained(texts), rest: rest.into() }
    }

    /// The first match for which `holds`, of those that the path may fit.
    pub fn first(&self, path: &str, holds: impl Fn(Entry) -> bool) -> Option<Entry> {
        let holds = |at: u32| holds(self.all[at as usize]);
        let mut best = u32::MAX;
        // Every text that the path starts with is the one that sorts just before it, or one that this starts with.
        let after = self.texts.partition_point(|one| *one.text <= *path);
        let mut next = after.checked_sub(1);
        while let Some(at) = next {
            let one = &self.texts[at];
            if path.starts_with(&*one.text) {
                best = earliest(&one.entries, best, holds);
            }
            next = one.shorter.map(|at| at as usize);
        }
        self.all.get(earliest(&self.rest, best, holds) as usize).copied()
    }
}

impl Entry {
    /// The match itself.
    pub fn of(self, rules: &[HttpRule]) -> Option<&HttpMatch> {
        rules.get(self.rule)?.matches.get(self.at?)
    }

    /// What the match takes of the paths that it holds for.
    pub fn part(self, rules: &[HttpRule]) -> Part {
        Part::of(self.of(rules).and_then(|one| one.uri.as_ref()))
    }
}

/// The first of these that is before `best` and holds, else `best`.
fn earliest(entries: &[u32], best: u32, holds: impl Fn(u32) -> bool) -> u32 {
    let mut before = entries.iter().copied().take_while(|at| *at < best);
    before.find(|at| holds(*at)).unwrap_or(best)
}

fn entries(rule: usize, model: &HttpRule) -> impl Iterator<Item = Entry> + use<> {
    let always = model.matches.is_empty().then_some(Entry { rule, at: None });
    always.into_iter().chain((0..model.matches.len()).map(move |at| Entry { rule, at: Some(at) }))
}

/// What every path that fits starts with, where that is known.
fn start(one: &HttpMatch) -> Option<Cow<'_, str>> {
    match one.uri.as_ref()? {
        StringMatch::Regex(pattern) => literal(pattern.as_str()).map(Cow::Owned),
        _ if one.ignore_uri_case => None,
        StringMatch::Exact(text) | StringMatch::Prefix(text) | StringMatch::PathPrefix(text) => {
            Some(Cow::Borrowed(text))
        }
        StringMatch::Present => None,
    }
}

/// The text that all that a pattern fits starts with. Trying each of a thousand patterns costs milliseconds.
fn literal(pattern: &str) -> Option<String> {
    let starts = Extractor::new().extract(&regex_syntax::parse(pattern).ok()?);
    let common = str::from_utf8(starts.longest_common_prefix()?).ok()?;
    (!common.is_empty()).then(|| common.to_owned())
}

fn chained(texts: BTreeMap<Cow<'_, str>, Vec<u32>>) -> Box<[Text]> {
    let mut chained: Vec<Text> = Vec::with_capacity(texts.len());
    for (number, (text, entries)) in (0_u32..).zip(texts) {
        let mut shorter = number.checked_sub(1);
        while let Some(at) = shorter.filter(|at| !text.starts_with(&*chained[*at as usize].text)) {
            shorter = chained[at as usize].shorter;
        }
        chained.push(Text { text: text.as_ref().into(), entries, shorter });
    }
    chained.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_by_what_all_that_they_fit_starts_with() {
        for (pattern, start) in [
            ("^(?:/a/b)$", Some("/a/b")),
            ("^(?:/a/[^/]+/c)$", Some("/a/")),
            ("^(?:/a/(b|bc).*)$", Some("/a/b")),
            ("^(?:/a?b)$", Some("/")),
            ("^(?:/a|b)$", None),
            ("^(?:(?i)ab)$", None),
            ("^(?:.*)$", None),
            ("^(?:)$", None),
        ] {
            assert_eq!(literal(pattern).as_deref(), start, "{pattern}");
        }
    }
}
