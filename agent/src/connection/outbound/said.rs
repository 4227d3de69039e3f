//! What the application has said before its way was clear, and how that clears it.
//!
//! Where nobody declared what a port speaks, its client is given a moment. One that is silent for so long may wait for
//! its server: the connection is made as if it were opaque, and whoever speaks first decides. So a server that speaks
//! first never waits, and HTTP is routed by request however late it comes.

use super::{Attempt, Outbound};
use crate::connection::failed::{At, Failed};
use crate::relay::first_words::hear;
use crate::route::{Plan, Spoken, Undecided};
use crate::telemetry::Open;
use crate::vocab::Stage;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client that speaks first needs to begin, after its connection was made: the more of them are heard in time,
/// the fewer connections are made in vain.
const HEAD_START: Duration = Duration::from_millis(3);
/// The same where there is no endpoint that could speak first.
const NOBODY: Duration = Duration::from_secs(1);

/// What the application has said.
#[derive(Default)]
pub struct Said {
    /// The bytes, none of which has reached an endpoint.
    pub read: Vec<u8>,
    /// What is to come of it, while that is open.
    pub undecided: Option<Box<Undecided>>,
    /// How many of the bytes are in the metrics.
    counted: usize,
}

impl Said {
    /// The bytes, to be sent. They are counted here, once.
    pub fn read_once(&mut self, record: &Open) -> &[u8] {
        record.traffic().add_to_server(self.read.len() - self.counted);
        self.counted = self.read.len();
        &self.read
    }

    /// An endpoint took none of these bytes, which were counted.
    pub fn unsent(&mut self, bytes: Vec<u8>) {
        self.counted = bytes.len();
        self.read = bytes;
    }
}

impl Outbound<'_> {
    /// Where a connection goes by its first bytes; where nobody speaks, it goes as if it were opaque.
    pub(super) async fn hear(
        &self,
        undecided: Box<Undecided>,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<Plan, Failed> {
        let hearing = hear(app, &mut said.read);
        let heard = match undecided.otherwise() {
            _ if undecided.awaits_client() => Ok(hearing.await),
            Plan::Refused(_) => timeout(NOBODY, hearing).await,
            _ => timeout(HEAD_START, hearing).await,
        };
        let Ok(spoken) = heard else {
            let plan = undecided.otherwise().clone();
            said.undecided = Some(undecided);
            return Ok(plan);
        };
        Ok(self.heard(&undecided, &spoken.at(Stage::Relay, "RESET")?))
    }

    /// Waits for whoever speaks first, where that is still open; the endpoint is connected.
    pub(super) async fn decide(
        &self,
        app: &mut TcpStream,
        said: &mut Said,
        server_speaks: impl Future<Output = ()>,
    ) -> Result<(), Attempt> {
        let Some(undecided) = said.undecided.take() else {
            return Ok(());
        };
        let spoken = tokio::select! {
            biased;
            spoken = hear(app, &mut said.read) => spoken.at(Stage::Relay, "RESET").map_err(Attempt::Over)?,
            () = server_speaks => Spoken::Bytes,
        };
        if said.read.is_empty() {
            // What came from the endpoint may also be that it is none: then the next one is asked the same.
            said.undecided = Some(undecided);
            return Ok(());
        }
        match self.heard(&undecided, &spoken) {
            // An endpoint of the same upstream is at hand.
            Plan::Tcp(other) if undecided.leads_to(&other) => Ok(()),
            other => Err(Attempt::Turned(other)),
        }
    }

    fn heard(&self, undecided: &Undecided, spoken: &Spoken) -> Plan {
        undecided.heard(spoken, &self.client.workload, &mut fastrand::Rng::new())
    }
}
