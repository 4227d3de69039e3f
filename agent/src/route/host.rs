//! Host names with wildcards, as VirtualService and DestinationRule write them.

use crate::vocab::{Hostname, Namespace};
use std::iter;

/// Where Istio looks for rules that are meant for the whole mesh.
pub const ROOT_NAMESPACE: &str = "istio-system";

/// Whether a pattern (`name`, `*.suffix` or `*`) covers a host.
pub fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

/// How narrow a pattern is: greater is narrower, and an exact name is narrowest.
pub fn specificity(pattern: &str) -> usize {
    if pattern.starts_with('*') { pattern.len() } else { usize::MAX }
}

/// Every pattern that covers a host, narrowest first.
pub fn patterns(host: &Hostname) -> impl Iterator<Item = Hostname> + '_ {
    let name = host.as_str();
    let wildcards = name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]).into());
    iter::once(host.clone()).chain(wildcards).chain(iter::once("*".into()))
}

/// Whether an object with this `exportTo` is seen from a namespace.
pub fn visible(export_to: &[Namespace], from: &Namespace) -> bool {
    export_to.is_empty() || export_to.contains(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_names_below_their_suffix_only() {
        for (pattern, host, covered) in [
            ("a.b.c", "a.b.c", true),
            ("a.b.c", "b.c", false),
            ("*.b.c", "a.b.c", true),
            ("*.b.c", "x.a.b.c", true),
            ("*.b.c", "b.c", false),
            ("*.b.c", "ab.c", false),
            ("*", "a", true),
        ] {
            assert_eq!(covers(pattern, host), covered, "{pattern} {host}");
        }
    }

    #[test]
    fn the_patterns_of_a_host_come_narrowest_first_and_cover_it() {
        let patterns: Vec<_> = patterns(&"a.b.c".into()).collect();
        assert_eq!(patterns, ["a.b.c", "*.b.c", "*.c", "*"].map(Hostname::from));
        assert!(patterns.is_sorted_by_key(|pattern| std::cmp::Reverse(specificity(pattern.as_str()))));
        assert!(patterns.iter().all(|pattern| covers(pattern.as_str(), "a.b.c")));
    }
}
