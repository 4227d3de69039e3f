//! Bodies of requests that are answered here.
//!
//! A client that still writes when its connection is closed may lose the answer: a short body is read first, and
//! hyper closes the connection after the answer where more was to come.

use super::kept::MOST;
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::time::Duration;
use tokio::time::timeout;

/// A client that has begun to send a short body goes on.
const PATIENCE: Duration = Duration::from_millis(250);

/// Reads what a client is about to send, if that is not much. One that waits to be asked is not asked.
pub(super) async fn drain(head: &Parts, body: Incoming) {
    let much = body.size_hint().lower() > MOST as u64;
    if body.is_end_stream() || much || head.version == http::Version::HTTP_2 || head.headers.contains_key(EXPECT) {
        return;
    }
    let _ = Box::pin(timeout(PATIENCE, read(body))).await;
}

async fn read(mut body: Incoming) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, bytes::Bytes::len);
        let Some(rest) = left.checked_sub(len) else { return };
        left = rest;
    }
}
