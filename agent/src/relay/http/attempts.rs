//! Attempts at one request: one, or as many as its rule allows, in the time that it allows.

use super::answer::Failure;
use super::body::RequestBody;
use super::carrier::Carrier;
use super::deadline::Deadline;
use super::dial::unrouted;
use super::kept::Kept;
use super::record::Record;
use super::{Settled, Upstreams, first, second};
use crate::model::http_rule::Retry;
use crate::route::retry::{Attempt, worth};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The head of an answer, and what will deliver the rest.
pub(super) type Carried<U> = (Response<Incoming>, Carrier<U>);

/// Sends the request until there is an answer to give to the client.
///
/// # Errors
/// There is none.
pub(super) async fn carry<U: Upstreams>(
    record: &mut Record<U>,
    request: Request<RequestBody>,
) -> Result<Carried<U>, Failure> {
    let terms = record.target.as_ref().map(|target| record.relay.upstreams.terms(target));
    if terms.is_none_or(|terms| terms.timeout.is_none() && terms.retry.is_none()) {
        return once(record, request).await;
    }
    Box::pin(by_terms(record, request)).await
}

/// One attempt.
///
/// # Errors
/// It failed, or was refused.
async fn once<U: Upstreams>(record: &mut Record<U>, request: Request<RequestBody>) -> Result<Carried<U>, Failure> {
    record.outcome.attempts += 1;
    record.trying = true;
    let carried = match request.version() {
        Version::HTTP_2 => second::carry(record, request).await.map(|(head, ticket)| (head, Carrier::Ticket(ticket))),
        _ => first::carry(record, request).await.map(|(head, line)| (head, Carrier::Line(line))),
    };
    record.trying = false;
    judge(record, carried.as_ref().map(|(response, _)| response.status()));
    carried
}

/// Says of the endpoint what it did.
pub(super) fn judge<U: Upstreams>(record: &Record<U>, answered: Result<StatusCode, &Failure>) {
    match answered {
        Ok(status) => record.settle(Settled::Answered(status)),
        Err(failure) => failure.settled().into_iter().for_each(|settled| record.settle(settled)),
    }
}

async fn by_terms<U: Upstreams>(record: &mut Record<U>, request: Request<RequestBody>) -> Result<Carried<U>, Failure> {
    let target = record.target.clone().ok_or_else(unrouted)?;
    let relay = Arc::clone(&record.relay);
    let terms = relay.upstreams.terms(&target);
    let mut deadline = terms.timeout.map(|lasts| Box::new(Deadline::new(lasts, record.meter.clone())));
    let carried = match terms.retry {
        Some(retry) => within(deadline.as_deref_mut(), repeat(record, request, retry)).await,
        None => within(deadline.as_deref_mut(), once(record, request)).await,
    };
    let carried = carried.unwrap_or_else(|| late(record));
    // What we answer ourselves needs no time.
    record.deadline = deadline.filter(|_| carried.is_ok());
    carried
}

/// Work that is given up when its time is up; then there is no result.
pub(super) async fn within<T>(deadline: Option<&mut Deadline>, work: impl Future<Output = T>) -> Option<T> {
    let Some(deadline) = deadline else { return Some(work.await) };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = deadline => None,
    }
}

/// The end of an attempt that took too long, or of the pause before the next one.
pub(super) fn late<T, U: Upstreams>(record: &mut Record<U>) -> Result<T, Failure> {
    if std::mem::take(&mut record.trying) {
        record.settle(Settled::TimedOut);
    }
    Err(Failure::timed_out())
}

/// One attempt within a time limit.
///
/// # Errors
/// It failed, or took too long.
pub(super) async fn once_within<U: Upstreams>(
    record: &mut Record<U>,
    request: Request<RequestBody>,
    limit: Option<&mut Deadline>,
) -> Result<Carried<U>, Failure> {
    let carried = within(limit, once(record, request)).await;
    carried.unwrap_or_else(|| late(record))
}

async fn repeat<U: Upstreams>(
    record: &mut Record<U>,
    request: Request<RequestBody>,
    retry: &Retry,
) -> Result<Carried<U>, Failure> {
    record.alone = true;
    let (head, body) = request.into_parts();
    let mut attempts = Attempts { tries: Tries::new(retry), head, body: body.keep() };
    loop {
        let request = attempts.request();
        let mut limit = retry.per_try.map(|lasts| Deadline::new(lasts, record.meter.clone()));
        let carried = once_within(record, request, limit.as_mut()).await;
        let next = match attempts.next(record, carried) {
            Next::Over(carried) => return *carried,
            Next::Elsewhere(target) => target,
            Next::Again(target, pause) => {
                sleep(pause).await;
                target
            }
        };
        record.target = Some(next);
        record.handle = None;
    }
}

/// The attempts so far.
pub(super) struct Tries<'a, U: Upstreams> {
    retry: &'a Retry,
    /// Retries so far.
    repeated: u32,
    tried: Vec<U::Target>,
}

/// What follows an attempt.
pub(super) enum After<U: Upstreams> {
    /// Nothing; with a flag that says why, where there would have been another.
    Over(Option<&'static str>),
    /// Another one there, at once, as nobody has seen the request.
    Elsewhere(U::Target),
    /// Another one there, after a pause.
    Again(U::Target, Duration),
}

impl<'a, U: Upstreams> Tries<'a, U> {
    pub(super) fn new(retry: &'a Retry) -> Self {
        Self { retry, repeated: 0, tried: Vec::new() }
    }

    /// Which attempt is next, from 1.
    pub(super) fn number(&self) -> usize {
        self.tried.len() + 1
    }

    /// What follows what became of an attempt; nothing is known of one that no other would mend.
    pub(super) fn after(
        &mut self,
        record: &mut Record<U>,
        attempt: Option<&Attempt<'_>>,
        can_repeat: impl FnOnce() -> bool,
    ) -> After<U> {
        self.tried.extend(record.target.clone());
        if !attempt.is_some_and(|attempt| worth(&self.retry.on, attempt)) {
            let unreachable = matches!(attempt, Some(Attempt::ConnectFailure));
            let elsewhere = if unreachable { record.relay.upstreams.another(&self.tried) } else { None };
            return elsewhere.map_or(After::Over(None), After::Elsewhere);
        }
        if self.repeated >= self.retry.attempts {
            // Without any retries there is no limit that was reached.
            return After::Over((self.repeated > 0).then_some("URX"));
        }
        if !can_repeat() {
            return After::Over(None);
        }
        let Some(target) = record.relay.upstreams.again(&self.tried) else { return After::Over(None) };
        // The retry before this one is over: its place may be taken again.
        record.retrying = None;
        record.retrying = record.relay.upstreams.admit_retry(&target);
        if record.retrying.is_none() {
            return After::Over(Some("UO"));
        }
        self.repeated += 1;
        After::Again(target, pause(self.retry.backoff, self.repeated - 1))
    }
}

/// Attempts of a request that hyper carries.
struct Attempts<'a, U: Upstreams> {
    tries: Tries<'a, U>,
    head: Parts,
    body: Option<Arc<Kept>>,
}

enum Next<U: Upstreams> {
    /// With this.
    Over(Box<Result<Carried<U>, Failure>>),
    Elsewhere(U::Target),
    Again(U::Target, Duration),
}

impl<U: Upstreams> Attempts<'_, U> {
    fn request(&self) -> Request<RequestBody> {
        let mut head = self.head.clone();
        head.headers.insert(ATTEMPT, HeaderValue::from(self.tries.number()));
        Request::from_parts(head, RequestBody::view(self.body.as_ref()))
    }

    fn next(&mut self, record: &mut Record<U>, carried: Result<Carried<U>, Failure>) -> Next<U> {
        let attempt = match &carried {
            Ok((response, _)) => Some(Attempt::Answered { status: response.status(), headers: response.headers() }),
            Err(failure) => failure.attempt(),
        };
        let can_repeat = || self.body.as_ref().is_none_or(|body| body.can_repeat());
        let (target, pause) = match self.tries.after(record, attempt.as_ref(), can_repeat) {
            After::Over(None) => return Next::Over(Box::new(carried)),
            After::Over(Some(flag)) => return Next::Over(Box::new(flagged(record, carried, flag))),
            After::Elsewhere(target) => return Next::Elsewhere(target),
            After::Again(target, pause) => (target, pause),
        };
        if let Ok((response, carrier)) = carried
            && let Some(line) = carrier.discard(response.into_body())
        {
            record.relay.pool.put(line);
        }
        Next::Again(target, pause)
    }
}

/// Says in the record why there was no further attempt.
pub(super) fn flagged<T, U: Upstreams>(
    record: &mut Record<U>,
    carried: Result<T, Failure>,
    flag: &'static str,
) -> Result<T, Failure> {
    if carried.is_ok() {
        record.flag(flag);
    }
    carried.map_err(|failure| Failure { flag: joined(failure.flag, flag), ..failure })
}

/// What went wrong last and that the retries are used up, as Envoy writes both.
fn joined(last: &'static str, flag: &'static str) -> &'static str {
    match (last, flag) {
        ("UF", "URX") => "UF,URX",
        ("UC", "URX") => "UC,URX",
        ("UT", "URX") => "UT,URX",
        ("UPE", "URX") => "UPE,URX",
        _ => flag,
    }
}

/// The pause before a retry: at least the base, and up to twice as much with each one, but no more than ten times.
fn pause(base: Option<Duration>, repeated: u32) -> Duration {
    let base = base.unwrap_or(BACKOFF);
    let most = base * 2u32.saturating_pow(repeated + 1).min(10);
    base + (most - base).mul_f64(fastrand::f64())
}

/// Envoy's default.
const BACKOFF: Duration = Duration::from_millis(25);
const ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_the_base_to_ten_times_of_it() {
        for (repeated, most) in [(0, 50), (1, 100), (2, 200), (3, 250), (9, 250), (40, 250)] {
            let pauses = (0..200).map(|_| pause(None, repeated)).collect::<Vec<_>>();
            assert!(pauses.iter().all(|pause| (25..=most).contains(&pause.as_millis())), "{repeated}: {pauses:?}");
            assert!(pauses.iter().any(|pause| pause.as_millis() > most * 6 / 10), "{repeated}: {pauses:?}");
        }
        assert_eq!(pause(Some(Duration::ZERO), 3), Duration::ZERO);
    }
}
