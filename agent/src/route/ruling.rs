//! What is done with one request.
//!
//! In this order: a rule is found by its matches; a delay and an abort of its fault are drawn; a redirect, a fixed
//! answer or one of its destinations is taken. What is forwarded is shaped before it is sent (headers of the rule, of
//! the destination, then path and authority), and its answer likewise.

use super::{Binding, Refusal, Upstream};
use crate::model::http_rule::Retry;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The decision on one request.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Waited for before anything else is done; its flag is `DI`.
    pub delay: Option<Duration>,
    /// What is done then.
    pub verdict: Verdict,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is answered here.
    Answer(Answer),
    /// It goes on.
    Forward(Forward),
}

/// An answer that is made here, complete: a gRPC client's has status 200 and the call's status among its headers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The gRPC status that is in the headers.
    pub grpc_status: Option<u8>,
    /// Envoy's response flag, `-` where nothing went wrong.
    pub flag: &'static str,
    /// The name of the rule that made it.
    pub rule: Option<Arc<str>>,
}

impl Answer {
    /// Why a request goes nowhere, as an answer.
    pub fn refusal(refusal: &Refusal) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let body = Bytes::from(refusal.to_string());
        Self { status: refusal.status(), headers, body, grpc_status: None, flag: refusal.flag(), rule: None }
    }
}

/// A request on its way to an upstream that has at least one ready endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forward {
    pub(super) upstream: Arc<Upstream>,
    pub(super) taken: Option<Taken>,
}

/// The rule that took a request.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) binding: Arc<Binding>,
    /// Which of its HTTP rules.
    pub(super) rule: usize,
}

impl Forward {
    /// A request that no rule has a say in.
    pub fn plain(upstream: Arc<Upstream>) -> Self {
        Self { upstream, taken: None }
    }

    /// Where it goes.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The name of the rule that took it, where it has one.
    pub fn rule(&self) -> Option<&Arc<str>> {
        self.model()?.name.as_ref()
    }

    /// Makes the request what the destination is to see.
    pub fn shape_request(&self, _request: &mut Parts) {}

    /// Makes the answer what the client is to see.
    pub fn shape_response(&self, _headers: &mut HeaderMap) {}

    /// How long the whole exchange may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.model()?.timeout
    }

    /// When and how often a failed attempt is repeated.
    pub fn retry(&self) -> Option<&Retry> {
        self.model()?.retry.as_ref()
    }

    /// Where copies of this request go.
    pub fn mirrors(&self) -> &[Arc<Upstream>] {
        &[]
    }

    fn model(&self) -> Option<&crate::model::HttpRule> {
        let taken = self.taken.as_ref()?;
        taken.binding.rules.http.get(taken.rule)
    }
}
