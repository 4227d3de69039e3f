//! VirtualServices that delegate: what a root means once the rules of its delegates stand in their places.
//!
//! One without hosts is a delegate: it is for no host by itself. A rule that delegates makes way for the delegate's
//! rules, each narrowed to what both take. Whenever either changes, the root is expanded again.

mod merge;

use super::many::Many;
use crate::model::{Finding, HttpAction, HttpRule, ObjectId, Severity, VirtualService};
use crate::route::host::visible;
use std::collections::HashMap;
use std::sync::Arc;

/// Roots and delegates, found by what depends on them.
#[derive(Default)]
pub(super) struct Delegates {
    delegates: HashMap<ObjectId, Arc<VirtualService>>,
    /// By what they delegate to.
    roots: Many<ObjectId, ObjectId, Arc<VirtualService>>,
    expanded: HashMap<ObjectId, Arc<VirtualService>>,
}

/// A root's old and new meaning.
pub(super) struct Turn {
    pub(super) old: Option<Arc<VirtualService>>,
    pub(super) new: Option<Arc<VirtualService>>,
    /// Whose, and what is wrong with it.
    pub(super) found: (ObjectId, Vec<Finding>),
}

/// Whether it is for others to delegate to.
pub(super) fn is_delegate(rules: &VirtualService) -> bool {
    rules.hosts.is_empty()
}

/// What its rules delegate to.
pub(super) fn delegates_of(rules: &VirtualService) -> impl Iterator<Item = &ObjectId> {
    rules.http.iter().filter_map(|rule| match &rule.action {
        HttpAction::Delegate(id) => Some(id),
        _ => None,
    })
}

impl Delegates {
    /// A delegate came or went: the roots that change with it.
    pub(super) fn delegate(&mut self, rules: &Arc<VirtualService>, present: bool) -> Vec<Turn> {
        match present {
            true => self.delegates.insert(rules.id.clone(), Arc::clone(rules)),
            false => self.delegates.remove(&rules.id),
        };
        let roots: Vec<_> = self.roots.values(&rules.id).cloned().collect();
        roots.iter().map(|root| self.turn(root, true)).collect()
    }

    /// A root came or went.
    pub(super) fn root(&mut self, rules: &Arc<VirtualService>, present: bool) -> Turn {
        for id in delegates_of(rules) {
            self.roots.set(id, &rules.id, present.then(|| Arc::clone(rules)));
        }
        self.turn(rules, present)
    }

    fn turn(&mut self, root: &Arc<VirtualService>, present: bool) -> Turn {
        let old = self.expanded.remove(&root.id);
        if !present {
            return Turn { old, new: None, found: (root.id.clone(), Vec::new()) };
        }
        let (expanded, found) = self.expand(root);
        let new = Arc::new(expanded);
        self.expanded.insert(root.id.clone(), Arc::clone(&new));
        Turn { old, new: Some(new), found: (root.id.clone(), found) }
    }

    fn expand(&self, root: &VirtualService) -> (VirtualService, Vec<Finding>) {
        let (mut http, mut found) = (Vec::with_capacity(root.http.len()), Vec::new());
        for rule in &root.http {
            let HttpAction::Delegate(id) = &rule.action else {
                http.push(rule.clone());
                continue;
            };
            match self.find(root, id) {
                _ if rule.broken.is_some() => http.push(rule.clone()),
                Ok(delegate) => http.extend(delegate.http.iter().filter_map(|own| {
                    let merged = merge::rule(rule, own);
                    found.extend(merged.is_none().then(|| conflict(root, rule, own)));
                    merged
                })),
                Err(why) => {
                    let message = format!("VirtualService {}: {why}; requests of this rule get 500", root.id);
                    found.push(error("missing-delegate", rule, message));
                    http.push(HttpRule { broken: Some(why.into()), ..rule.clone() });
                }
            }
        }
        (VirtualService { http, ..root.clone() }, found)
    }

    fn find(&self, root: &VirtualService, id: &ObjectId) -> Result<&Arc<VirtualService>, String> {
        let delegate = self.delegates.get(id);
        let delegate =
            delegate.ok_or_else(|| format!("there is no VirtualService {id} without hosts to delegate to"))?;
        match visible(&delegate.export_to, &root.id.namespace) {
            true => Ok(delegate),
            false => Err(format!("VirtualService {id} is not exported to the namespace {}", root.id.namespace)),
        }
    }

    /// A delegate that nobody delegates to.
    pub(super) fn unused(&self, id: &ObjectId) -> Vec<Finding> {
        let unused = self.delegates.get(id).filter(|_| self.roots.values(id).next().is_none());
        let finding = |rules: &Arc<VirtualService>| Finding {
            severity: Severity::Warning,
            code: "unused-delegate",
            at: rules.origin.to_string(),
            message: format!(
                "VirtualService {id} has no hosts, and no other one delegates to it: it has no effect; name the hosts \
                 that it is for, or delegate to it"
            ),
        };
        unused.map(finding).into_iter().collect()
    }
}

fn conflict(root: &VirtualService, rule: &HttpRule, own: &HttpRule) -> Finding {
    let message = format!(
        "has no effect for VirtualService {}: what it takes is not within what the rule takes that delegates to it \
         ({}); narrow its matches, without regular expressions for what both match",
        root.id, rule.origin
    );
    error("delegate-conflict", own, message)
}

fn error(code: &'static str, rule: &HttpRule, message: String) -> Finding {
    Finding { severity: Severity::Error, code, at: rule.origin.to_string(), message }
}
