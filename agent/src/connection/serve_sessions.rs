//! The server's end of `underpass/1`: connections one after the other, each authorized, recorded and carried.

use super::destination::{self, Arrived};
use super::failed::Failed;
use super::inbound::{Admitted, Server};
use super::{Mesh, admit, ends, reset};
use crate::identity::VerifiedPeer;
use crate::policy::{Connection, Peer};
use crate::telemetry::{Open as Record, Outcome, Protocol, RequestRecord, Target, Tls};
use crate::tunnel::underpass::{
    CarryError, Open, RefusalCode, Report, Role, SERVER_IDLE, Session, SessionError, SessionStream,
};
use crate::vocab::{Alpn, Stage};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long connections that crossed our farewell are still taken.
pub(super) const AFTER_FAREWELL: Duration = Duration::from_secs(5);

/// Serves a session until its client is done with it, it has waited too long, or the pod or the agent goes.
pub async fn serve(mesh: &Arc<Mesh>, server: &Server, mut session: Session, peer: &VerifiedPeer) {
    let handshake = ends::tls(session.info());
    let mut last = None;
    loop {
        match next(server.pod.gone(), &mut session, last.as_ref()).await {
            Ok(Some(open)) => match connection(mesh, server, (peer, handshake), &mut session, open).await {
                Ok(done) => last = done,
                Err(Over::Broken) => return,
                Err(Over::Requests(arrived, record)) => return requests(*arrived, session, *record).await,
            },
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(pod = %server.pod.id(), peer = %server.peer, %error, "session ended");
                return;
            }
        }
    }
}

/// A connection that has ended, for reports that come behind it.
type Done = (Record, Arc<Target>);

/// The next connection. An idle session is told farewell, and has a little time for what was under way by then.
async fn next(
    gone: &CancellationToken,
    session: &mut Session,
    last: Option<&Done>,
) -> Result<Option<Open>, SessionError> {
    let late = |report: Report<'_>| {
        if let Some((record, target)) = last {
            record.request(target, &request(report));
        }
    };
    if !gone.is_cancelled() {
        tokio::select! {
            open = session.next_open(&late) => return open,
            () = tokio::time::sleep(SERVER_IDLE) => {}
            () = gone.cancelled() => {}
        }
    }
    session.say_farewell().await?;
    tokio::time::timeout(AFTER_FAREWELL, session.next_open(&late)).await.unwrap_or(Ok(None))
}

/// Why a session is of no more use for others.
enum Over {
    /// It broke.
    Broken,
    /// The requests of its connection are decided about one by one.
    Requests(Box<Arrived>, Box<Record>),
}

/// Serves the requests of a session's last connection. What the client's agent reports of them is not needed.
async fn requests(arrived: Arrived, session: Session, record: Record) {
    match SessionStream::of_server(session) {
        Ok(io) => drop(Box::pin(destination::serve(arrived, io, Vec::new(), record)).await),
        Err(error) => record.close(Outcome::failed("TUNNEL", Stage::Tunnel, error)),
    }
}

/// One connection.
async fn connection(
    mesh: &Arc<Mesh>,
    server: &Server,
    (peer, handshake): (&VerifiedPeer, Tls),
    session: &mut Session,
    open: Open,
) -> Result<Option<Done>, Over> {
    let record = server.record(mesh);
    let admitted = match admit(mesh, server, (peer, handshake), open, &record).await {
        Ok(admitted) => admitted,
        Err((code, failed)) => {
            let refused = session.refuse(code, &failed.reason).await;
            record.close(failed.outcome());
            return refused.map(|()| None).map_err(|_| Over::Broken);
        }
    };
    if open.confirm && session.confirm().await.is_err() {
        record.close(Outcome::failed("TUNNEL", Stage::Tunnel, "the session broke"));
        return Err(Over::Broken);
    }
    let (mut app, mut held) = match admitted {
        Admitted::Bytes(app, held) => (app, held),
        Admitted::Requests(arrived) => return Err(Over::Requests(arrived, Box::new(record))),
    };
    record.established();
    let target = record.target_so_far();
    let report = |report: Report<'_>| record.request(&target, &request(report));
    let carrying = async { Ok(session.carry(&mut app, Role::Server(&report), record.traffic()).await) };
    let carried = match held.during(carrying).await {
        Ok(carried) => carried,
        Err(denied) => {
            record.end(denied.outcome());
            reset(&app);
            return Err(Over::Broken);
        }
    };
    record.end(outcome(&carried));
    match carried {
        Ok(()) => Ok(Some((record, target))),
        Err(_) => {
            reset(&app);
            Err(Over::Broken)
        }
    }
}

fn outcome(carried: &Result<(), CarryError>) -> Outcome {
    match carried {
        Ok(()) | Err(CarryError::Left) => Outcome::complete(),
        Err(error @ CarryError::Session(_)) => Outcome::failed("TUNNEL", Stage::Relay, error),
        Err(error) => Outcome::failed("RESET", Stage::Relay, error),
    }
}

/// Identity, policy, and the connection to the application.
async fn admit(
    mesh: &Arc<Mesh>,
    server: &Server,
    (peer, handshake): (&VerifiedPeer, Tls),
    open: Open,
    record: &Record,
) -> Result<Admitted, (RefusalCode, Failed)> {
    let client = std::net::SocketAddr::new(server.peer.ip(), open.source.port());
    let proven = Peer::Verified(peer.id().clone());
    let connection = Connection::new(&proven, client.ip(), open.destination);
    let (admission, workload) = {
        let now = mesh.snapshots.load();
        record.source(ends::peer(&now, client, Some(peer.id())));
        let workload = mesh.identify(&now, server.pod.id()).map_err(|failed| (RefusalCode::NotThisPod, failed))?;
        let security = Some((Alpn::Sessions, server.original.socket(), handshake));
        record.target(ends::received(&workload, open.destination, security));
        if !server.pod.addresses().contains(&open.destination.ip()) {
            let failed = Failed::new(Stage::Tunnel, "CONNECT", format!("{} is not this pod", open.destination));
            return Err((RefusalCode::NotThisPod, failed));
        }
        let admission = admit::connection((mesh, &now), &workload, &connection, record);
        (admission.map_err(|failed| (RefusalCode::Denied, failed))?, workload)
    };
    let admitted = server.admitted(mesh, admission, workload, &connection).await;
    admitted.map_err(|failed| (RefusalCode::Unreachable, failed))
}

/// A request that the client's agent routed, as this end records it.
fn request(report: Report<'_>) -> RequestRecord {
    RequestRecord {
        method: report.method.parse().unwrap_or_default(),
        uri: report.path.parse().unwrap_or_default(),
        authority: report.authority.parse().ok(),
        user_agent: None,
        request_id: None,
        status: report.status,
        grpc_status: report.grpc_status,
        protocol: match &*report.protocol {
            "grpc" => Protocol::Grpc,
            "http2" => Protocol::Http2,
            _ => Protocol::Http,
        },
        request_bytes: report.request_bytes,
        response_bytes: report.response_bytes,
        duration: Duration::from_micros(report.duration_us),
        flag: known_flag(&report.flag),
        attempts: 1,
        rule: None,
        policies: None,
        error: None,
    }
}

/// Flags are label values: a peer must not invent series.
fn known_flag(flag: &str) -> &'static str {
    const KNOWN: [&str; 17] = [
        "-", "DC", "DI", "FI", "UC", "UF", "UH", "UO", "NR", "NC", "UPE", "URX", "UT", "UF,URX", "UC,URX", "UT,URX",
        "UPE,URX",
    ];
    KNOWN.into_iter().find(|known| *known == flag).unwrap_or("unknown")
}
