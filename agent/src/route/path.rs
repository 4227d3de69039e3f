//! What becomes of a path, in a rewrite or a redirect.

use crate::model::StringMatch;
use crate::model::http_rule::PathChange;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use regex::Regex;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

/// How a rule's `uri` took a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It did not look at it.
    Unasked,
    /// It took so many bytes at the start.
    Start(usize),
    /// It took all of it.
    Whole,
}

impl Part {
    /// What this condition takes of the paths that it holds for.
    pub fn of(uri: Option<&StringMatch>) -> Self {
        match uri {
            None | Some(StringMatch::Present) => Self::Unasked,
            Some(StringMatch::Prefix(text) | StringMatch::PathPrefix(text)) => Self::Start(text.len()),
            Some(StringMatch::Exact(_) | StringMatch::Regex(_)) => Self::Whole,
        }
    }

    /// What is left of the path; `unasked` bytes are taken where the rule did not say how many.
    fn rest(self, path: &str, unasked: usize) -> &str {
        let taken = match self {
            Self::Unasked => unasked,
            Self::Start(length) => length,
            Self::Whole => path.len(),
        };
        path.get(taken..).unwrap_or_default()
    }
}

/// A change of a path, ready to be made.
#[derive(Clone, Debug)]
pub enum PathEdit {
    /// The whole path becomes this.
    Full(Arc<str>),
    /// What the rule took becomes this, as it is written.
    Prefix(Arc<str>),
    /// The path elements that the rule took become these; no slash at the end.
    Elements(Arc<str>),
    /// All that the pattern finds becomes this, in the notation of `regex`.
    Regex(Regex, Arc<str>),
}

impl PathEdit {
    /// Makes a change ready.
    pub fn new(change: &PathChange) -> Self {
        match change {
            PathChange::Full(text) => Self::Full(Arc::clone(text)),
            PathChange::Prefix(text) => Self::Prefix(Arc::clone(text)),
            PathChange::PathPrefix(text) => Self::Elements(text.trim_end_matches('/').into()),
            PathChange::Regex(pattern, with) => Self::Regex(pattern.clone(), groups(with).into()),
        }
    }

    /// The path and query that replace these.
    pub fn apply(&self, path: &str, query: Option<&str>, part: Part) -> String {
        let mut changed = self.path(path, part);
        if !changed.starts_with('/') {
            changed.insert(0, '/');
        }
        // A change that brings its own query means that one.
        if let Some(query) = query.filter(|_| !changed.contains('?')) {
            changed.push('?');
            changed.push_str(query);
        }
        match PathAndQuery::try_from(changed.as_str()) {
            Ok(good) if good.as_str() == changed => changed,
            _ => utf8_percent_encode(&changed, UNFIT).to_string(),
        }
    }

    fn path(&self, path: &str, part: Part) -> String {
        match self {
            Self::Full(text) => text.to_string(),
            // Istio takes a rule without `uri` for one with the prefix `/`.
            Self::Prefix(text) => format!("{text}{}", part.rest(path, 1)),
            Self::Elements(text) => format!("{text}{}", part.rest(path, 0)),
            Self::Regex(pattern, with) => match pattern.replace_all(path, &**with) {
                Cow::Borrowed(same) => same.to_owned(),
                Cow::Owned(changed) => changed,
            },
        }
    }
}

/// A replacement in RE2's notation (`\1`, `\\`) in that of `regex` (`${1}`, `$$`).
fn groups(with: &str) -> String {
    let mut to = String::with_capacity(with.len());
    let mut from = with.chars();
    while let Some(one) = from.next() {
        match (one, one == '\\') {
            ('$', _) => to.push_str("$$"),
            (_, false) => to.push(one),
            (_, true) => match from.next() {
                Some(group) if group.is_ascii_digit() => {
                    // Writing to a string does not fail.
                    let _ = write!(to, "${{{group}}}");
                }
                Some(other) => to.push(other),
                None => to.push('\\'),
            },
        }
    }
    to
}

/// What cannot stand in a request target. A percent sign is taken for the start of what was escaped already.
const UNFIT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`');

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(change: &PathChange, path: &str, part: Part) -> String {
        PathEdit::new(change).apply(path, None, part)
    }

    #[test]
    fn path_elements_are_replaced_with_slashes_kept_right() {
        // The table of HTTPPathModifier in the Gateway API's reference.
        for (path, matched, with, result) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
            ("/", "", "/xyz", "/xyz/"),
        ] {
            let part = Part::of(Some(&StringMatch::PathPrefix(matched.into())));
            assert_eq!(edited(&PathChange::PathPrefix(with.into()), path, part), result, "{path} {matched} {with}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_as_it_is_written() {
        for (path, part, with, result) in [
            ("/a/b", Part::Start(2), "/x", "/x/b"),
            ("/a/b", Part::Start(3), "/x", "/xb"),
            ("/a/b", Part::Start(3), "/", "/b"),
            ("/a/b", Part::Whole, "/x", "/x"),
            ("/a/b", Part::Unasked, "/x", "/xa/b"),
            ("/a/b", Part::Unasked, "/", "/a/b"),
            ("/a", Part::Start(2), "x", "/x"),
        ] {
            assert_eq!(edited(&PathChange::Prefix(with.into()), path, part), result, "{path} {part:?} {with}");
        }
    }

    #[test]
    fn patterns_replace_all_that_they_find_with_groups_in_their_places() {
        for (pattern, with, path, result) in [
            ("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            ("a", r"\0\0", "/a", "/aa"),
            ("a", r"$1\\", "/a", r"/$1\"),
            ("a", r"\7", "/a", "/"),
            ("b", "c", "/a", "/a"),
        ] {
            let change = PathChange::Regex(Regex::new(pattern).unwrap(), with.into());
            assert_eq!(edited(&change, path, Part::Whole), result, "{pattern} {with}");
        }
    }

    #[test]
    fn the_query_stays_unless_the_change_brings_one_and_the_result_can_be_sent() {
        let full = |with: &str, query| PathEdit::Full(with.into()).apply("/a", query, Part::Whole);
        assert_eq!(full("/b", Some("x=1")), "/b?x=1");
        assert_eq!(full("/b?y=2", Some("x=1")), "/b?y=2");
        assert_eq!(full("/a b#c\u{e9}%20", None), "/a%20b%23c%C3%A9%20");
        assert_eq!(full("", None), "/");
    }
}
