//! Notices a peer that is gone without a word: its node lost power, its pod's interface went first.

use h2::{Ping, PingPong};
use std::time::Duration;
use thiserror::Error;

/// Time between an answer and the next question: ztunnel's.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer may take: ztunnel's.
const TIMEOUT: Duration = Duration::from_secs(20);

/// No answer to a PING for 20 seconds.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the peer did not answer an HTTP/2 PING for {} s", TIMEOUT.as_secs())]
pub struct PeerSilent;

/// Returns when the peer fell silent, and never otherwise: a connection that ends is noticed by
/// whoever drives it.
pub(super) async fn watch(ping_pong: Option<PingPong>) -> PeerSilent {
    let Some(mut ping_pong) = ping_pong else { return std::future::pending().await };
    loop {
        tokio::time::sleep(INTERVAL).await;
        match tokio::time::timeout(TIMEOUT, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return PeerSilent,
        }
    }
}
