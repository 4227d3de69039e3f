//! A text against many patterns.

use crate::model::authorization_policy::{Element, PathTemplate, Pattern};
use std::collections::HashSet;
use std::sync::Arc;

/// Up to so many texts are compared one by one.
const FEW: usize = 8;

/// Patterns of which one has to fit.
#[derive(Debug)]
pub(super) struct Texts {
    exact: HashSet<Arc<str>>,
    others: Box<[Pattern]>,
}

impl Texts {
    /// `folded`: what is compared is in lower case already.
    pub(super) fn new(patterns: &[Pattern], folded: bool) -> Self {
        let fold = |text: &Arc<str>| if folded { text.to_ascii_lowercase().into() } else { Arc::clone(text) };
        let patterns = patterns.iter().map(|pattern| match pattern {
            Pattern::Exact(text) => Pattern::Exact(fold(text)),
            Pattern::Prefix(text) => Pattern::Prefix(fold(text)),
            Pattern::Suffix(text) => Pattern::Suffix(fold(text)),
            Pattern::Present | Pattern::Template(_) => pattern.clone(),
        });
        let (exact, others): (Vec<_>, Vec<_>) = patterns.partition(|one| matches!(one, Pattern::Exact(_)));
        if exact.len() <= FEW {
            return Self { exact: HashSet::new(), others: exact.into_iter().chain(others).collect() };
        }
        let text = |pattern| if let Pattern::Exact(text) = pattern { Some(text) } else { None };
        Self { exact: exact.into_iter().filter_map(text).collect(), others: others.into() }
    }

    pub(super) fn take(&self, text: &str) -> bool {
        self.others.iter().any(|pattern| fits(pattern, text)) || (!self.exact.is_empty() && self.exact.contains(text))
    }
}

fn fits(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Exact(same) => **same == *text,
        Pattern::Prefix(start) => text.starts_with(&**start),
        Pattern::Suffix(end) => text.ends_with(&**end),
        Pattern::Present => !text.is_empty(),
        Pattern::Template(template) => template_fits(template, text),
    }
}

/// `{**}` takes at least what is between two slashes, which may be nothing: `/a/{**}` takes `/a/`, and not `/a`.
fn template_fits(PathTemplate(elements): &PathTemplate, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let fits = |(element, part): (&Element, &str)| match element {
        Element::Literal(text) => **text == *part,
        Element::One => !part.is_empty(),
        Element::Rest => true,
    };
    let count = path.split('/').count();
    match elements.iter().position(|element| *element == Element::Rest) {
        None => count == elements.len() && elements.iter().zip(path.split('/')).all(fits),
        Some(rest) => {
            let behind = elements.iter().rev().take(elements.len() - rest - 1);
            count >= elements.len()
                && elements.iter().take(rest).zip(path.split('/')).all(fits)
                && behind.zip(path.rsplit('/')).all(fits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        let element = |part: &str| match part {
            "{*}" => Element::One,
            "{**}" => Element::Rest,
            other => Element::Literal(other.into()),
        };
        PathTemplate(text[1..].split('/').map(element).collect())
    }

    #[test]
    fn templates_take_elements_and_rests() {
        for (text, taken, left) in [
            ("/a/{*}", &["/a/b", "/a/%2F"][..], &["/a", "/a/", "/a/b/", "/a/b/c", "/b/a", "a/b"][..]),
            ("/a/{**}", &["/a/", "/a/b", "/a/b/c/"], &["/a", "/b/a", "/"]),
            ("/{*}/b/{**}", &["/a/b/", "/a/b/c/d"], &["/a/b", "//b/c", "/b/c"]),
            ("/a/{**}/z", &["/a//z", "/a/b/z", "/a/b/c/z"], &["/a/z", "/a/b/z/", "/a/b"]),
            ("/a/{*}/", &["/a/b/"], &["/a/b", "/a//"]),
            ("/{**}", &["/", "/a", "/a/b"], &["", "a"]),
        ] {
            let template = template(text);
            for path in taken {
                assert!(template_fits(&template, path), "{text} {path}");
            }
            for path in left {
                assert!(!template_fits(&template, path), "{text} {path}");
            }
        }
    }

    #[test]
    fn many_texts_are_found_as_few_are() {
        for count in [1, FEW, FEW + 1, 100] {
            let all: Vec<Pattern> = (0..count).map(|n| Pattern::new(&format!("T{n}"))).collect();
            let texts = Texts::new(&all, false);
            assert!(texts.take("T0") && texts.take(&format!("T{}", count - 1)), "{count}");
            assert!(!texts.take("t0") && !texts.take("") && !texts.take(&format!("T{count}")), "{count}");
            assert!(Texts::new(&all, true).take("t0"), "{count}");
        }
    }
}
