//! The server's end of HBONE: each CONNECT authorized, recorded and relayed.

use super::admissions::Held;
use super::admit::Admission;
use super::destination;
use super::ends;
use super::failed::{At, Failed};
use super::inbound::{Admitted, Server};
use super::{Mesh, admit, reset};
use crate::identity::VerifiedPeer;
use crate::model::Workload;
use crate::policy::{Connection, Peer};
use crate::relay::tcp;
use crate::telemetry::{Open, Outcome, Tls};
use crate::tunnel::hbone::{self, Baggage, Incoming, Refusal, Respond, Target};
use crate::tunnel::tls::TlsStream;
use crate::vocab::{Alpn, Stage};
use std::sync::Arc;
use tokio::net::TcpStream;

/// Serves an HBONE session to its end.
pub async fn serve(mesh: &Arc<Mesh>, server: Server, tls: TlsStream, peer: VerifiedPeer) {
    let handshake = ends::tls(tls.info());
    let (pod, gone) = (server.pod.id().clone(), server.pod.gone().clone());
    let respond = Arc::new(Tunnels { mesh: Arc::clone(mesh), server, peer, handshake });
    if let Err(error) = hbone::serve(tls, respond, gone).await {
        tracing::debug!(%pod, %error, "HBONE session ended");
    }
}

/// The tunnels of one session.
struct Tunnels {
    mesh: Arc<Mesh>,
    server: Server,
    peer: VerifiedPeer,
    handshake: Tls,
}

impl Respond for Tunnels {
    async fn respond(&self, incoming: Incoming) {
        let record = self.server.record(&self.mesh);
        let (app, held) = match self.admit(&incoming, &record).await {
            Ok(Admitted::Bytes(app, held)) => (app, held),
            Ok(Admitted::Requests(arrived)) => {
                return match incoming.accept(&Baggage::default()) {
                    Ok(tunnel) => drop(Box::pin(destination::serve(*arrived, tunnel, Vec::new(), record)).await),
                    Err(error) => record.close(Outcome::failed("TUNNEL", Stage::Tunnel, error)),
                };
            }
            Err((refusal, failed)) => {
                incoming.refuse(refusal);
                return record.close(failed.outcome());
            }
        };
        let relayed = self.relay(incoming, (app, held), &record).await;
        record.close(match relayed {
            Ok(()) => Outcome::complete(),
            Err(failed) => failed.outcome(),
        });
    }
}

impl Tunnels {
    /// Identity, policy, and the connection to the application.
    async fn admit(&self, incoming: &Incoming, record: &Open) -> Result<Admitted, (Refusal, Failed)> {
        let Target::Address(to) = incoming.connect.target else {
            let text = "CONNECT to a name; this is a pod, not a gateway";
            return Err((Refusal::BadRequest, Failed::new(Stage::Tunnel, "CONNECT", text)));
        };
        let peer = Peer::Verified(self.peer.id().clone());
        let connection = Connection::new(&peer, self.server.peer.ip(), to);
        let (workload, admission) = self.authorize(&connection, record)?;
        let admitted = self.server.admitted(&self.mesh, admission, workload, &connection).await;
        admitted.map_err(|failed| (Refusal::Unreachable, failed))
    }

    fn authorize(
        &self,
        connection: &Connection<'_>,
        record: &Open,
    ) -> Result<(Arc<Workload>, Admission), (Refusal, Failed)> {
        let to = connection.destination;
        let now = self.mesh.snapshots.load();
        record.source(ends::peer(&now, self.server.peer.socket(), Some(self.peer.id())));
        let workload =
            self.mesh.identify(&now, self.server.pod.id()).map_err(|failed| (Refusal::Unreachable, failed))?;
        let security = Some((Alpn::Hbone, self.server.original.socket(), self.handshake));
        record.target(ends::received(&workload, to, security));
        if !self.server.pod.addresses().contains(&to.ip()) {
            let failed = Failed::new(Stage::Tunnel, "CONNECT", format!("{to} is not this pod"));
            return Err((Refusal::BadRequest, failed));
        }
        let admission = admit::connection((&self.mesh, &now), &workload, connection, record);
        admission.map(|admission| (workload, admission)).map_err(|failed| (Refusal::Denied, failed))
    }

    async fn relay(
        &self,
        incoming: Incoming,
        (mut app, mut held): (TcpStream, Held),
        record: &Open,
    ) -> Result<(), Failed> {
        let mut tunnel = incoming.accept(&Baggage::default()).at(Stage::Relay, "RESET")?;
        record.established();
        let copying = async { tcp::copy(&mut tunnel, &mut app, record.traffic()).await.at(Stage::Relay, "RESET") };
        held.during(copying).await.inspect_err(|_| reset(&app))
    }
}
