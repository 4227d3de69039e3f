//! What a rule does with what it takes: one of its destinations, by weight.

use super::target::Target;
use super::{Backends, Refusal, ServiceRef, Upstream};
use crate::model::http_rule::Dialect;
use crate::model::{WeightedDestination, Workload};
use crate::vocab::Hostname;
use fastrand::Rng;
use std::sync::Arc;

/// What one rule does with what it takes.
#[derive(Debug)]
pub(super) struct Action {
    /// The rule, for messages.
    pub(super) name: Arc<str>,
    broken: Option<Arc<str>>,
    pub(super) dialect: Dialect,
    shares: Box<[Share]>,
}

/// One destination with its share.
#[derive(Debug)]
struct Share {
    /// The sum of the weights up to and with this one.
    below: u64,
    broken: Option<Arc<str>>,
    target: Target,
}

impl Action {
    pub(super) fn new(
        name: Arc<str>,
        (broken, dialect): (Option<Arc<str>>, Dialect),
        route: &[WeightedDestination],
        find: impl Fn(&Hostname) -> Option<Arc<Backends>>,
    ) -> Self {
        let mut below = 0;
        let alone = route.len() == 1 && dialect == Dialect::Istio;
        let share = |weighted: &WeightedDestination| {
            below += u64::from(if alone { 1 } else { weighted.weight });
            Share { below, broken: weighted.broken.clone(), target: Target::new(&weighted.destination, &find) }
        };
        let shares = route.iter().map(share).collect();
        Self { name, broken, dialect, shares }
    }

    /// Why all that the rule takes is refused.
    pub(super) fn broken(&self, used: &Arc<ServiceRef>) -> Result<(), Refusal> {
        self.broken.as_ref().map_or(Ok(()), |why| Err(self.refusal(used, why)))
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// What is wrong with the weights, where it is.
    pub(super) fn weightless(&self) -> Option<&'static str> {
        match self.shares.last() {
            None => Some("it names no destination"),
            Some(last) if last.below == 0 => Some("no destination has a weight"),
            Some(_) => None,
        }
    }

    /// One of the destinations, in proportion to their weights.
    pub(super) fn draw(&self, used: &Arc<ServiceRef>, rng: &mut Rng) -> Result<usize, Refusal> {
        if let Some(why) = self.weightless() {
            return Err(self.refusal(used, why));
        }
        let total = self.shares.last().map_or(0, |share| share.below);
        let drawn = if self.shares.len() == 1 { 0 } else { rng.u64(..total) };
        Ok(self.shares.partition_point(|share| share.below <= drawn))
    }

    /// Why a destination cannot be used, as far as the rule's source knows.
    pub(super) fn usable(&self, at: usize, used: &Arc<ServiceRef>) -> Result<(), Refusal> {
        self.shares[at].broken.as_ref().map_or(Ok(()), |why| Err(self.refusal(used, why)))
    }

    /// What a destination is for a client that used this service port; it has an endpoint that is ready.
    pub(super) fn reach(&self, at: usize, client: &Workload, used: &Arc<ServiceRef>) -> Result<Arc<Upstream>, Refusal> {
        let target = &self.shares[at].target;
        let upstream = target.upstream(client, used.port).ok_or_else(|| self.missing(target, used))?;
        if upstream.group.is_empty() {
            return Err(Refusal::NoHealthyEndpoints { upstream });
        }
        Ok(upstream)
    }

    /// Draws a destination for a connection.
    pub(super) fn choose(
        &self,
        client: &Workload,
        used: &Arc<ServiceRef>,
        rng: &mut Rng,
    ) -> Result<Arc<Upstream>, Refusal> {
        self.broken(used)?;
        let at = self.draw(used, rng)?;
        self.usable(at, used)?;
        self.reach(at, client, used)
    }

    /// The destinations; none in place of one that its source broke.
    pub(super) fn targets(&self) -> impl Iterator<Item = Option<&Target>> {
        self.shares.iter().map(|share| share.broken.is_none().then_some(&share.target))
    }

    fn missing(&self, target: &Target, used: &Arc<ServiceRef>) -> Refusal {
        match self.dialect {
            Dialect::Gateway => self.refusal(used, &format!("there is no {}", target.name)),
            Dialect::Istio => Refusal::Missing {
                service: Arc::clone(used),
                rule: Arc::clone(&self.name),
                destination: Arc::clone(&target.name),
            },
        }
    }

    fn refusal(&self, used: &Arc<ServiceRef>, why: &str) -> Refusal {
        Refusal::Broken { service: Arc::clone(used), rule: Arc::clone(&self.name), why: why.into() }
    }
}
