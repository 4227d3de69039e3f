//! `--name value` pairs.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow};

/// The arguments of a verb.
pub struct Options(Vec<(String, String)>);

impl Options {
    /// Reads pairs.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let words: Vec<String> = words.collect();
        let pairs = words.chunks(2).map(|pair| match pair {
            [name, value] if name.starts_with("--") => Ok((name[2..].to_owned(), value.clone())),
            other => Err(anyhow!("expected --NAME VALUE at {other:?}")),
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A value that has to be there.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.text(name).with_context(|| format!("--{name} is missing"))
    }

    /// A value that may be absent.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| anyhow!("--{name}: {text:?} does not fit"))
    }
}
