//! Services of type ExternalName: other names for hosts, as DNS has it.

use super::many::Many;
use crate::vocab::Hostname;
use std::collections::HashMap;

/// A name may lead over so many others; more is a circle.
const MOST: usize = 8;

/// Which name stands for which.
#[derive(Default)]
pub(super) struct Aliases {
    targets: HashMap<Hostname, Hostname>,
    names: Many<Hostname, Hostname, ()>,
}

impl Aliases {
    /// A name stands for another one, or not any more. Whether that is new.
    pub(super) fn set(&mut self, name: &Hostname, target: Option<&Hostname>) -> bool {
        if self.targets.get(name) == target {
            return false;
        }
        let old = match target {
            Some(target) => {
                self.names.set(target, name, Some(()));
                self.targets.insert(name.clone(), target.clone())
            }
            None => self.targets.remove(name),
        };
        if let Some(old) = old {
            self.names.set(&old, name, None);
        }
        true
    }

    /// What a name stands for; itself where it is no alias.
    pub(super) fn end<'a>(&'a self, name: &'a Hostname) -> &'a Hostname {
        let mut name = name;
        for _ in 0..MOST {
            match self.targets.get(name) {
                Some(target) => name = target,
                None => return name,
            }
        }
        name
    }

    /// What a name stands for, if it is an alias.
    pub(super) fn target(&self, name: &Hostname) -> Option<&Hostname> {
        self.targets.get(name)
    }

    /// A host with all its other names.
    pub(super) fn names(&self, host: &Hostname) -> Vec<Hostname> {
        let mut names = vec![host.clone()];
        let mut at = 0;
        while at < names.len() {
            let more: Vec<Hostname> = self.names.iter(&names[at]).map(|(name, ())| name.clone()).collect();
            for name in more {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            at += 1;
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_end_and_back() {
        let mut aliases = Aliases::default();
        let name = |text: &str| Hostname::from(text);
        assert!(aliases.set(&name("a"), Some(&name("b"))));
        assert!(!aliases.set(&name("a"), Some(&name("b"))));
        assert!(aliases.set(&name("b"), Some(&name("c"))));
        assert_eq!(aliases.end(&name("a")).as_str(), "c");
        assert_eq!(aliases.names(&name("c")), ["c", "b", "a"].map(Hostname::from));
        assert!(aliases.set(&name("b"), None));
        assert_eq!(aliases.end(&name("a")).as_str(), "b");
        assert_eq!(aliases.names(&name("c")), ["c"].map(Hostname::from));
    }

    #[test]
    fn a_circle_has_an_end() {
        let mut aliases = Aliases::default();
        aliases.set(&"a".into(), Some(&"b".into()));
        aliases.set(&"b".into(), Some(&"a".into()));
        aliases.end(&"a".into());
        assert_eq!(aliases.names(&"a".into()).len(), 2);
    }
}
