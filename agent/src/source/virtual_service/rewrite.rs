//! What the destination sees instead of the path and authority that the client sent.

use super::Reading;
use super::raw::{RegexRewrite, Rewrite as RawRewrite};
use crate::model::http_rule::{PathChange, Rewrite};
use crate::source::path::Path;
use crate::source::{header, name};

impl Reading<'_, '_> {
    /// A rewrite.
    pub fn rewrite(&mut self, raw: &RawRewrite, path: &Path) -> Rewrite {
        if raw.uri.is_empty() && raw.authority.is_empty() && raw.uri_regex_rewrite.is_none() {
            self.notes.error("missing-field", path, "changes nothing: write uri, uriRegexRewrite or authority");
        }
        let authority = self.authority(&raw.authority, &path.key("authority"));
        let change = match (raw.uri.as_str(), &raw.uri_regex_rewrite) {
            ("", None) => None,
            // Not always a path: of a matched prefix `/v1/` it may be the empty rest's beginning, such as `/`.
            (uri, None) => Some(PathChange::Prefix(uri.into())),
            ("", Some(regex)) => self.regex_rewrite(regex, &path.key("uriRegexRewrite")),
            _ => {
                self.notes.error("conflict", &path.key("uriRegexRewrite"), "stands beside `uri`: keep one of them");
                None
            }
        };
        Rewrite { path: change, authority: authority.and_then(|text| header::value(&text).ok()) }
    }

    fn regex_rewrite(&mut self, raw: &RegexRewrite, path: &Path) -> Option<PathChange> {
        for (key, text) in [("match", &raw.r#match), ("rewrite", &raw.rewrite)] {
            if text.is_empty() {
                self.notes.error(
                    "missing-field",
                    path,
                    format!("`{key}` is missing: both match and rewrite are needed"),
                );
                return None;
            }
        }
        let regex = match name::pattern_anywhere(&raw.r#match) {
            Ok(regex) => regex,
            Err(what) => {
                self.notes.invalid("invalid-regex", &path.key("match"), what);
                return None;
            }
        };
        match replacement(&raw.rewrite, regex.captures_len() - 1) {
            Ok(()) => Some(PathChange::Regex(regex, raw.rewrite.as_str().into())),
            Err(what) => {
                self.notes.invalid("invalid-regex", &path.key("rewrite"), what);
                None
            }
        }
    }
}

/// Checks that RE2's `\1` stand for groups that there are.
fn replacement(text: &str, groups: usize) -> Result<(), String> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some('\\') => {}
            Some(digit @ '0'..='9') => {
                let group = digit.to_digit(10).unwrap_or_default();
                if group as usize > groups {
                    return Err(format!("`\\{group}` stands for a group that `match` does not have: it has {groups}"));
                }
            }
            _ => return Err("a `\\` stands before a group's number, or is written `\\\\`".to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_to_be_there() {
        for (text, right) in [
            (r"/v2/\1", true),
            (r"\2\1", true),
            (r"/\0$", true),
            (r"a\\1", true),
            (r"\3", false),
            (r"\", false),
            (r"\n", false),
        ] {
            assert_eq!(replacement(text, 2).is_ok(), right, "{text}");
        }
    }
}
