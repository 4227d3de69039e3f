//! Bytes to an endpoint that is to see more than the bytes: TLS that a rule asks for, the PROXY protocol.

use super::{Attempt, Outbound, Said, To, inner};
use crate::capture::SocketIntent;
use crate::connection::admissions::Held;
use crate::connection::admit::{self, Admission};
use crate::connection::dial;
use crate::connection::dress::Dress;
use crate::connection::ends::{self, Proof};
use crate::connection::failed::{At, Failed};
use crate::connection::hop::{self, Hop};
use crate::connection::requests::Io;
use crate::model::Workload;
use crate::policy::{Connection, Peer};
use crate::relay::tcp;
use crate::telemetry::{Open, Outcome};
use crate::tunnel::origination::Inside;
use crate::tunnel::underpass::{self, CarryError, RefusalCode, SessionStream};
use crate::vocab::Stage;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The record of the other end, a pod of this node, and its place among those that were let in.
type Twin = (Open, Held);

impl Outbound<'_> {
    /// One attempt, by any hop.
    pub(super) async fn dressed(
        &self,
        (hop, to): (Hop, To<'_>),
        dress: &Dress,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let (io, twin) = self.stream(&hop, to).await.map_err(again)?;
        let (twin, held) = twin.unzip();
        let result = match dress.put_on(self.mesh, Inside::Bytes, io).await {
            Ok(io) => self.relay_held(held, io, app, said).await,
            Err(failed) => Err(again(failed)),
        };
        if let Some(twin) = twin {
            twin.close(match &result {
                Ok(()) | Err(Attempt::Turned(_)) => Outcome::complete(),
                Err(Attempt::Again(failed) | Attempt::Over(failed)) => failed.outcome(),
            });
        }
        result
    }

    async fn relay_held(
        &self,
        held: Option<Held>,
        io: Io,
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let Some(mut held) = held else {
            return self.relay(io, app, said).await;
        };
        match held.during(async { Ok(self.relay(io, app, said).await) }).await {
            Ok(relayed) => relayed,
            Err(denied) => Err(Attempt::Over(denied)),
        }
    }

    pub(super) async fn relay(&self, mut io: Io, app: &mut TcpStream, said: &mut Said) -> Result<(), Attempt> {
        let mut heard = Vec::new();
        self.decide(app, said, async { drop(io.read_buf(&mut heard).await) }).await?;
        self.record.established();
        let relayed = async {
            io.write_all(said.read_once(self.record)).await?;
            io.flush().await?;
            self.record.traffic().add_to_client(heard.len());
            app.write_all(&heard).await?;
            tcp::copy(app, &mut io, self.record.traffic()).await
        };
        relayed.await.at(Stage::Relay, "RESET").map_err(Attempt::Over)
    }

    /// A stream to the application, which took the connection.
    async fn stream(&self, hop: &Hop, to: To<'_>) -> Result<(Io, Option<Twin>), Failed> {
        match hop {
            Hop::SameNode(workload) => self.local(workload, hop, to).await,
            Hop::Plaintext => {
                let stream = self.client.tcp(SocketIntent::Tunnel, to.0.address).await?;
                Ok((Io::Tcp(stream), None))
            }
            Hop::Underpass(workload) => self.tunnelled(workload, hop, to).await,
            Hop::Hbone(workload) => {
                let at = (&**workload, to.0.address);
                let stream = dial::hbone(self.mesh, &self.client, at, self.permit).await?;
                self.record.target(ends::target(hop, to.0, to.1, Proof::Earlier));
                Ok((Io::Hbone(stream), None))
            }
            Hop::Forbidden => Err(Failed::new(Stage::Tunnel, "TLS_FAILURE", hop::FORBIDDEN)),
        }
    }

    async fn local(&self, workload: &Arc<Workload>, hop: &Hop, to: To<'_>) -> Result<(Io, Option<Twin>), Failed> {
        let peer = Peer::Local(self.client.workload.identity.clone());
        let connection = Connection::new(&peer, self.client.address.ip(), to.0.address);
        let target = ends::target(hop, to.0, to.1, Proof::None);
        let twin = ends::inbound_twin(self.record, &self.client, target, (workload, to.0.address));
        let admitted = async {
            let held = match admit::connection((self.mesh, &self.now), workload, &connection, &twin)? {
                Admission::Bytes(held) => held,
                Admission::Requests(held, otherwise) => return Ok(Err((held, otherwise))),
            };
            Ok(Ok((self.client.tcp(SocketIntent::Application, to.0.address).await?, held)))
        };
        match admitted.await {
            Ok(Ok((stream, held))) => {
                twin.established();
                Ok((Io::Tcp(stream), Some((twin, held))))
            }
            Ok(Err((held, otherwise))) => {
                let at = ((workload, to.0.address), peer.clone());
                let inner = inner::begin(self.mesh, self.client.clone(), at, (held, otherwise, twin)).await?;
                Ok((Io::Inner(inner.io), None))
            }
            Err(failed) => {
                let failed: Failed = failed;
                twin.close(failed.outcome());
                Err(failed)
            }
        }
    }

    async fn tunnelled(&self, workload: &Arc<Workload>, hop: &Hop, to: To<'_>) -> Result<(Io, Option<Twin>), Failed> {
        let at = (&**workload, to.0.address);
        let (_, mut session) = dial::session(self.mesh, &self.client, at, self.permit).await?;
        let (destination, source) = (to.0.address, self.client.address.socket());
        session.open(&underpass::Open { destination, source, confirm: true }).at(Stage::Tunnel, "TUNNEL")?;
        session.accepted().await.map_err(|error| match error {
            CarryError::Refused { code: RefusalCode::Denied, .. } => Failed::new(Stage::Policy, "DENY", error),
            error => Failed::new(Stage::Tunnel, "CONNECT", error),
        })?;
        let proof = Proof::Handshake(ends::tls(session.info()));
        self.record.target(ends::target(hop, to.0, to.1, proof));
        Ok((Io::Session(Box::new(SessionStream::new(session))), None))
    }
}

/// Nothing of the application was sent; whoever was refused by policy is refused everywhere.
fn again(failed: Failed) -> Attempt {
    if failed.stage == Stage::Policy { Attempt::Over(failed) } else { Attempt::Again(failed) }
}
