//! One request's account, handed in exactly once, also when its future is dropped.

use super::answer::{Failure, GRPC_STATUS};
use super::body::Meter;
use super::outcome::NOTHING;
use super::serve::Relay;
use super::{RequestOutcome, Upstreams};
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
    began: Instant,
    closed: bool,
}

impl<U: Upstreams> Record<U> {
    pub(super) fn open(relay: &Arc<Relay<U>>, request: &Parts) -> Box<Self> {
        relay.watch.begins();
        Box::new(Self {
            relay: Arc::clone(relay),
            outcome: RequestOutcome::of(request),
            target: None,
            handle: None,
            meter: None,
            began: Instant::now(),
            closed: false,
        })
    }

    /// The pool's key of the present target.
    pub(super) fn key(&self) -> Option<U::Key> {
        self.target.as_ref().map(|target| self.relay.upstreams.key(target))
    }

    /// The first flag stays: what came after is its consequence.
    pub(super) fn flag(&mut self, flag: &'static str) {
        if self.outcome.flag == NOTHING {
            self.outcome.flag = flag;
        }
    }

    /// Why the request got no answer: the client's fault or the upstream's.
    pub(super) fn failure(&self, error: &hyper::Error) -> Failure {
        let broken = self.meter.as_ref().is_some_and(|meter| meter.is_broken());
        if broken { Failure::broken_off() } else { Failure::from(error) }
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
        self.relay.watch.ends(now);
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
