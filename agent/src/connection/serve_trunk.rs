//! The server's end of a connection that many sessions share: each has a task of its own.

use super::Mesh;
use super::inbound::Server;
use super::serve_sessions::{self, AFTER_FAREWELL};
use crate::identity::VerifiedPeer;
use crate::tunnel::tls::TlsStream;
use crate::tunnel::underpass::{Lane, Session, Trunk, drive};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Serves the lanes of a trunk until its client is done with it, or the pod or the agent goes and the last lane ends.
pub async fn serve(mesh: &Arc<Mesh>, server: Server, tls: TlsStream, peer: VerifiedPeer) {
    let gone = server.pod.gone().clone();
    let (mesh, ends) = (Arc::clone(mesh), Arc::new((server, peer)));
    let arrived = move |lane: Lane| {
        let (of_lane, ends) = (Arc::clone(&mesh), Arc::clone(&ends));
        mesh.tasks.spawn(async move {
            let (server, peer) = &*ends;
            serve_sessions::serve(&of_lane, server, Session::on(lane), peer).await;
        });
    };
    let (trunk, driving) = drive(tls, false, arrived);
    tokio::select! {
        () = driving => {}
        () = farewell(&gone, &trunk) => {}
    }
}

/// Has the trunk end with its last lane. Those that crossed the sessions' farewells are still taken.
async fn farewell(gone: &CancellationToken, trunk: &Trunk) {
    gone.cancelled().await;
    tokio::time::sleep(AFTER_FAREWELL).await;
    trunk.retire();
    std::future::pending().await
}
