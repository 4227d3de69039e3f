//! Bytes to a pod of this node whose requests are seen at the destination's end, in this agent.

use super::{Attempt, Outbound, Said};
use crate::capture::SocketIntent;
use crate::connection::Mesh;
use crate::connection::admissions::Held;
use crate::connection::admit::Otherwise;
use crate::connection::destination::{self, Arrived, Inner, Way};
use crate::connection::dial::Client;
use crate::connection::failed::Failed;
use crate::connection::requests::Io;
use crate::model::Workload;
use crate::policy::Peer;
use crate::telemetry::Open;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A pod of this node at this address, and who goes there.
pub type Inside<'a> = ((&'a Arc<Workload>, SocketAddr), Peer);

/// The destination's end of a connection, once the application took it.
///
/// # Errors
/// The application does not take it; this is in the destination's record by then.
pub async fn begin(
    mesh: &Arc<Mesh>,
    client: Client,
    ((workload, address), peer): Inside<'_>,
    (held, otherwise, twin): (Held, Otherwise, Open),
) -> Result<Inner, Failed> {
    let app = match otherwise {
        Otherwise::Later => Ok(None),
        Otherwise::Open => client.tcp(SocketIntent::Application, address).await.map(Some),
    };
    let app = match app {
        Ok(app) => app,
        Err(failed) => {
            twin.close(failed.outcome());
            return Err(failed);
        }
    };
    let (mesh, workload, ip) = (Arc::clone(mesh), Arc::clone(workload), client.address.ip());
    let arrived = Arrived { mesh, way: Way::Local(client), workload, address, peer, client: ip, held, app };
    Ok(destination::local(arrived, twin))
}

impl Outbound<'_> {
    pub(super) async fn inner(
        &self,
        to: Inside<'_>,
        admitted: (Held, Otherwise, Open),
        app: &mut TcpStream,
        said: &mut Said,
    ) -> Result<(), Attempt> {
        let begun = begin(self.mesh, self.client.clone(), to, admitted).await;
        let Inner { io, mut ended } = begun.map_err(Attempt::Again)?;
        let relayed = tokio::select! {
            biased;
            failed = ended.refused() => return Err(Attempt::Over(failed)),
            relayed = self.relay(Io::Inner(io), app, said) => relayed,
        };
        // What broke here broke there first, and there it is known why.
        match relayed {
            Err(Attempt::Over(failed)) => Err(Attempt::Over(ended.failure().await.unwrap_or(failed))),
            other => other,
        }
    }
}
