//! One request's account, handed in exactly once, also when its future is dropped.

use super::answer::{Failure, Kind};
use super::body::Meter;
use super::deadline::Deadline;
use super::outcome::NOTHING;
use super::serve::Relay;
use super::{RequestOutcome, Settled, Upstreams};
use crate::route::answer::GRPC_STATUS;
use http::HeaderMap;
use http::request::Parts;
use std::sync::Arc;
use tokio::time::Instant;

/// Open while the request is under way.
pub(super) struct Record<U: Upstreams> {
    pub(super) relay: Arc<Relay<U>>,
    pub(super) outcome: RequestOutcome,
    pub(super) target: Option<U::Target>,
    pub(super) handle: Option<U::Handle>,
    /// Counts the request's body, if it has one.
    pub(super) meter: Option<Arc<Meter>>,
    /// The end of the rule's time, once the answer has begun.
    pub(super) deadline: Option<Box<Deadline>>,
    /// The retry that is under way.
    pub(super) retrying: Option<U::Retrying>,
    /// The place of its connection, where the number of them is limited.
    pub(super) place: Option<U::Place>,
    /// Whether an endpoint that cannot be reached is left to the rule's retries.
    pub(super) alone: bool,
    /// Whether an attempt is under way of which the endpoint is to be judged.
    pub(super) trying: bool,
    began: Instant,
    closed: bool,
}

impl<U: Upstreams> Record<U> {
    pub(super) fn open(relay: &Arc<Relay<U>>, request: &Parts) -> Box<Self> {
        relay.watch.begins();
        Self::of(relay, RequestOutcome::of(request))
    }

    /// The account of a mirror's copy. The client's connection does not wait for it.
    pub(super) fn of_copy(relay: &Arc<Relay<U>>, request: &Parts, target: U::Target) -> Box<Self> {
        let mut record = Self::of(relay, RequestOutcome { copy: true, ..RequestOutcome::of(request) });
        record.target = Some(target);
        record
    }

    fn of(relay: &Arc<Relay<U>>, outcome: RequestOutcome) -> Box<Self> {
        Box::new(Self {
            relay: Arc::clone(relay),
            outcome,
            target: None,
            handle: None,
            meter: None,
            deadline: None,
            retrying: None,
            place: None,
            alone: false,
            trying: false,
            began: Instant::now(),
            closed: false,
        })
    }

    /// The pool's key of the present target.
    pub(super) fn key(&self) -> Option<U::Key> {
        self.target.as_ref().map(|target| self.relay.upstreams.key(target))
    }

    /// The first flag stays: what came after is its consequence. But not of a delay, which is no failure.
    pub(super) fn flag(&mut self, flag: &'static str) {
        if self.outcome.flag == NOTHING || self.outcome.flag == DELAYED {
            self.outcome.flag = flag;
        }
    }

    /// Why the request got no answer: the client's fault or the upstream's.
    pub(super) fn failure(&self, error: &hyper::Error, head_sent: bool) -> Failure {
        if self.meter.as_ref().is_some_and(|meter| meter.is_broken()) {
            return Failure::broken_off();
        }
        let failure = Failure::from(error);
        if head_sent { failure } else { Failure { kind: Kind::Reset { head_sent }, ..failure } }
    }

    /// What the present endpoint did.
    pub(super) fn settle(&self, result: Settled) {
        if let Some(target) = &self.target {
            self.relay.upstreams.settle(target, result);
        }
    }

    /// Takes the call's status from headers or trailers.
    pub(super) fn note_grpc(&mut self, fields: &HeaderMap) {
        let Some(status) = fields.get(GRPC_STATUS) else { return };
        self.outcome.grpc_status = status.to_str().ok().and_then(|code| code.parse().ok());
    }

    pub(super) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let now = Instant::now();
        self.outcome.duration = now - self.began;
        if let Some(meter) = &self.meter {
            self.outcome.request_bytes += meter.bytes();
        }
        if !self.outcome.copy {
            self.relay.watch.ends(now);
        }
        self.relay.upstreams.finished(self.target.as_ref(), self.handle.as_ref(), &self.outcome);
    }
}

impl<U: Upstreams> Drop for Record<U> {
    fn drop(&mut self) {
        if !self.closed {
            self.flag("DC");
            self.close();
        }
    }
}

/// A rule's delay was waited for.
pub(super) const DELAYED: &str = "DI";
