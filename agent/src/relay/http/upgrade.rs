//! What leaves HTTP: WebSocket and other upgrades, and CONNECT, as bytes both ways.

use super::Upstreams;
use super::line::{Line, Wire};
use super::record::Record;
use super::tapped::{Ear, Tapped};
use crate::relay::tcp;
use crate::vocab::Traffic;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A switch that the application agreed to; the client is being told.
pub(super) struct Switch<U: Upstreams> {
    client: OnUpgrade,
    line: Box<Line<U>>,
    record: Box<Record<U>>,
}

/// Leaves the switch for the connection's own task to make when its HTTP side is done.
pub(super) fn begin<U: Upstreams>(client: OnUpgrade, line: Box<Line<U>>, mut record: Box<Record<U>>) {
    // The rule's time is that of the answer, which came.
    record.deadline = None;
    let relay = std::sync::Arc::clone(&record.relay);
    relay.leave_for_later(Switch { client, line, record });
}

impl<U: Upstreams> Switch<U> {
    /// Relays until both directions have ended. Each ends on its own.
    pub(super) async fn run<S, E>(self)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Ear,
    {
        let Self { client, line, mut record } = self;
        let Ok(client) = client.await else { return };
        let Some(mut client) = taken_back::<S, E>(client) else { return };
        let Some::<Wire<U>>(mut application) = line.leave().await else { return record.flag("UC") };
        let traffic = Traffic::default();
        let copied = tcp::copy(&mut client, &mut application, &traffic).await;
        record.outcome.request_bytes += traffic.to_server();
        record.outcome.response_bytes += traffic.to_client();
        if copied.is_ok() {
            record.close();
        }
    }
}

/// The stream below hyper's, with what hyper had read ahead.
fn taken_back<S, E>(upgraded: Upgraded) -> Option<Tapped<S, E>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Ear,
{
    let parts = upgraded.downcast::<TokioIo<Tapped<S, E>>>().ok()?;
    Some(parts.io.into_inner().put_back(parts.read_buf))
}
