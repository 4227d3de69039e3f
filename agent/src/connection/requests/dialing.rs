//! The hop to a request's endpoint.

use super::{Carrier, Choice, Io, Requests, speaks};
use crate::capture::SocketIntent;
use crate::connection::admissions::Held;
use crate::connection::admit::{self, Admission};
use crate::connection::dial;
use crate::connection::ends::{self, Proof};
use crate::connection::failed::{At, Failed};
use crate::connection::hop::{self, Hop};
use crate::connection::outbound::inner;
use crate::model::Workload;
use crate::policy::{Connection, Peer};
use crate::relay::http::Speaks;
use crate::telemetry::Open;
use crate::tunnel::origination::Inside;
use crate::tunnel::underpass::{self, CarryError, RefusalCode, SessionStream};
use crate::vocab::Stage;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A stream, and what is remembered of it.
type Connected = (Io, Carrier);

impl Requests {
    /// Opens a stream to the application.
    ///
    /// # Errors
    /// The stage and reason; nothing of the request was sent.
    pub(super) async fn connect(&self, choice: &Choice) -> Result<Connected, Failed> {
        let (io, carrier) = match &choice.hop {
            Hop::SameNode(workload) => self.same_node(workload, choice).await?,
            Hop::Plaintext => self.straight(choice, SocketIntent::Tunnel, None).await?,
            Hop::Underpass(workload) => self.session(workload, choice).await?,
            Hop::Hbone(workload) => self.hbone(workload, choice).await?,
            Hop::Forbidden => return Err(Failed::new(Stage::Tunnel, "TLS_FAILURE", hop::FORBIDDEN)),
        };
        let Some(dress) = self.dress(choice.forward.upstream()) else {
            return Ok((io, carrier));
        };
        let inside = match speaks(choice.forward.upstream()) {
            Speaks::Second => Inside::Http2,
            Speaks::AsClient if self.http2.load(Ordering::Relaxed) => Inside::Http2,
            Speaks::AsClient | Speaks::First => Inside::Http1,
        };
        Ok((Box::pin(dress.put_on(&self.mesh, inside, io)).await?, carrier))
    }

    async fn straight(
        &self,
        choice: &Choice,
        intent: SocketIntent,
        twin: Option<(Arc<Open>, Held)>,
    ) -> Result<Connected, Failed> {
        let client = self.client.under(choice.forward.upstream());
        let stream = client.tcp(intent, choice.endpoint.address).await?;
        let (twin, held) = twin.unzip();
        let guarded = held.map(|held| held.guard(&stream).at(Stage::Relay, "UF")).transpose()?.map(Arc::new);
        let handle = Carrier {
            target: Arc::new(choice.target(Proof::None)),
            reports: None,
            twin,
            _guarded: guarded,
            _own: None,
        };
        Ok((Io::Tcp(stream), handle))
    }

    async fn same_node(&self, workload: &Arc<Workload>, choice: &Choice) -> Result<Connected, Failed> {
        let address = choice.endpoint.address;
        let peer = Peer::Local(self.client.workload.identity.clone());
        let connection = Connection::new(&peer, self.client.address.ip(), address);
        let twin = ends::inbound_twin(&self.record, &self.client, choice.target(Proof::None), (workload, address));
        let now = self.mesh.snapshots.snapshot();
        let held = match admit::connection((&self.mesh, &now), workload, &connection, &twin) {
            Ok(Admission::Bytes(held)) => held,
            Ok(Admission::Requests(held, otherwise)) => {
                let client = self.client.under(choice.forward.upstream());
                let inner =
                    inner::begin(&self.mesh, client, ((workload, address), peer.clone()), (held, otherwise, twin))
                        .await?;
                let target = Arc::new(choice.target(Proof::None));
                return Ok((
                    Io::Inner(inner.io),
                    Carrier { target, reports: None, twin: None, _guarded: None, _own: None },
                ));
            }
            Err(failed) => {
                twin.close(failed.outcome());
                return Err(failed);
            }
        };
        twin.established();
        self.straight(choice, SocketIntent::Application, Some((Arc::new(twin), held))).await
    }

    async fn session(&self, workload: &Workload, choice: &Choice) -> Result<Connected, Failed> {
        let to = (workload, choice.endpoint.address);
        let client = self.client.under(choice.forward.upstream());
        let (mut session, own) = dial::shared(&self.mesh, &client, to, &choice.permit).await?;
        let (destination, source) = (choice.endpoint.address, self.client.address.socket());
        session.open(&underpass::Open { destination, source, confirm: true }).at(Stage::Tunnel, "TUNNEL")?;
        session.accepted().await.map_err(|error| match error {
            CarryError::Refused { code: RefusalCode::Denied, .. } => Failed::new(Stage::Policy, "DENY", error),
            error => Failed::new(Stage::Tunnel, "CONNECT", error),
        })?;
        let target = Arc::new(choice.target(Proof::Handshake(ends::tls(session.info()))));
        let stream = SessionStream::new(session);
        let handle = Carrier {
            target,
            reports: Some(stream.reports(&self.mesh.reports)),
            twin: None,
            _guarded: None,
            _own: own.map(Arc::new),
        };
        Ok((Io::Session(Box::new(stream)), handle))
    }

    async fn hbone(&self, workload: &Workload, choice: &Choice) -> Result<Connected, Failed> {
        let to = (workload, choice.endpoint.address);
        let client = self.client.under(choice.forward.upstream());
        let stream = dial::hbone(&self.mesh, &client, to, &choice.permit).await?;
        let handle = Carrier {
            target: Arc::new(choice.target(Proof::Earlier)),
            reports: None,
            twin: None,
            _guarded: None,
            _own: None,
        };
        Ok((Io::Hbone(stream), handle))
    }
}
