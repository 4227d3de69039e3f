//! The AuthorizationPolicies that select the same: the whole mesh, a whole namespace, or one workload.

use super::matcher::Compiled;
use crate::model::authorization_policy::Action;
use std::sync::Arc;

/// A policy, and the ports that it is for.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The policy.
    pub compiled: Arc<Compiled>,
    /// Of the application; `None` is all.
    pub ports: Option<Box<[u16]>>,
}

/// Policies by what they do. Those of dry runs are apart, whatever they would do.
#[derive(Debug, Default)]
pub struct Layer {
    pub(super) custom: Vec<Selected>,
    pub(super) deny: Vec<Selected>,
    pub(super) allow: Vec<Selected>,
    pub(super) audit: Vec<Selected>,
    pub(super) dry_run: Vec<Selected>,
}

impl Selected {
    pub(super) fn is_for(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compiled, &other.compiled) && self.ports == other.ports
    }
}

impl Layer {
    /// A layer of these, in their order; `None` where there are none.
    pub fn new(selected: Vec<Selected>) -> Option<Self> {
        let mut layer = Self::default();
        let some = !selected.is_empty();
        for one in selected {
            layer.part(&one).push(one);
        }
        some.then_some(layer)
    }

    fn part(&mut self, one: &Selected) -> &mut Vec<Selected> {
        let policy = &one.compiled.policy;
        match policy.action {
            _ if policy.dry_run => &mut self.dry_run,
            Action::Custom(_) => &mut self.custom,
            Action::Deny => &mut self.deny,
            Action::Allow => &mut self.allow,
            Action::Audit => &mut self.audit,
        }
    }

    /// All policies of it.
    pub fn all(&self) -> impl Iterator<Item = &Selected> {
        let parts = [&self.custom, &self.deny, &self.allow, &self.audit, &self.dry_run];
        parts.into_iter().flatten()
    }

    /// Whether it has the very same policies.
    pub fn same(&self, other: &Self) -> bool {
        self.all().count() == other.all().count() && self.all().zip(other.all()).all(|(one, other)| one.same(other))
    }
}

/// All layers of one workload: the mesh's, its namespace's, its own.
#[derive(Clone, Debug, Default)]
pub struct Layers(pub(super) [Option<Arc<Layer>>; 3]);

impl Layers {
    /// Whether nothing selects the workload.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The layers that there are.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Layer>> {
        self.0.iter().flatten()
    }

    /// Every policy that selects the workload.
    pub fn policies(&self) -> impl Iterator<Item = &Selected> {
        self.iter().flat_map(|layer| layer.all())
    }
}
