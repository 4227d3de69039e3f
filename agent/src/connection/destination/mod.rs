//! Requests at the destination's agent, where something that selects the workload needs them: policies decide about
//! each, by the configuration of now. However they came: through a tunnel, as plaintext, from a pod of this node.
//!
//! What a connection speaks is told by its first bytes. One that speaks no HTTP is carried as bytes, if policies let it.

mod authenticate;
mod changes;
mod cut;
mod edits;
mod external;
mod hear;
mod judge;
mod keys;
mod local;
mod reach;

pub use cut::Cut;
pub use external::Authorizers;
pub use keys::KeyStore;
pub use local::{Inner, local};

use super::Mesh;
use super::admissions::{Carried, Held};
use super::admit;
use super::dial::{self, Client};
use super::failed::{At, Failed};
use super::requests::told;
use crate::capture::{Pod, SocketIntent};
use crate::model::Workload;
use crate::policy::{Connection, Peer};
use crate::relay::http::{
    self, DialError, Dialed, Limits, Pool, Refused, RequestOutcome, Ruling, Settled, Shapes, Speaks, Terms, Upstreams,
    Verdict, Wear,
};
use crate::relay::rewound::Rewound;
use crate::relay::tcp;
use crate::route::Spoken;
use crate::telemetry::{Open, Outcome, Protocol, Target};
use crate::vocab::{Stage, Traffic};
use ::http::request::Parts;
use ::http::{HeaderMap, StatusCode};
use changes::Changes;
use external::{Asker, Subject};
use judge::Judge;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to a pod of this node.
pub struct Arrived {
    /// The agent's.
    pub mesh: Arc<Mesh>,
    /// How the application is reached.
    pub way: Way,
    /// The pod, as it was when the connection came.
    pub workload: Arc<Workload>,
    /// The application.
    pub address: SocketAddr,
    /// Who the client is.
    pub peer: Peer,
    /// Where it comes from.
    pub client: IpAddr,
    /// The connection's place among those that were let in.
    pub held: Held,
    /// A connection to the application, where one may be made before it is clear what is spoken.
    pub app: Option<TcpStream>,
}

/// How the application is reached.
pub enum Way {
    /// In the pod, from the client's address.
    Inside(Arc<Pod>),
    /// Out of the client's pod, which is on this node too.
    Local(Client),
}

impl Way {
    /// A connection to the application, from the client's own address.
    async fn application(&self, client: IpAddr, to: SocketAddr) -> Result<TcpStream, Failed> {
        match self {
            Self::Inside(pod) => dial::tcp(pod, SocketIntent::Application, Some(client), to).await,
            Self::Local(client) => client.tcp(SocketIntent::Application, to).await,
        }
    }
}

/// Serves a connection to its end and records it.
///
/// # Errors
/// It was refused, or broke off; its client has been told.
pub async fn serve<S>(arrived: Arrived, io: S, read: Vec<u8>, record: Open) -> Result<(), Failed>
where
    S: Cut + AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let record = Arc::new(record);
    let served = arrived.serve(io, read, &record).await;
    record.end(match &served {
        Ok(()) => Outcome::complete(),
        Err(failed) => failed.outcome(),
    });
    served
}

impl Arrived {
    async fn serve<S>(mut self, mut io: S, mut read: Vec<u8>, record: &Arc<Open>) -> Result<(), Failed>
    where
        S: Cut + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = self
            .held
            .during(async { hear::hear(&mut io, &mut read, self.app.as_ref()).await.at(Stage::Capture, "RESET") });
        let opaque = match heard.await {
            Ok(Spoken::Requests) => return self.requests(Rewound::new(read, io), record).await,
            Ok(Spoken::Tls(name)) => self.opaque((&mut io, read), name, record).await,
            Ok(Spoken::Bytes) => self.opaque((&mut io, read), None, record).await,
            Err(failed) => Err(failed),
        };
        if opaque.is_err() {
            self.app.iter().for_each(super::reset);
            io.cut();
        }
        opaque
    }

    async fn opaque<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        (io, read): (&mut S, Vec<u8>),
        sni: Option<Arc<str>>,
        record: &Open,
    ) -> Result<(), Failed> {
        Box::pin(self.admit_opaque(sni, record)).await?;
        record.established();
        // Between two pods of this node the client's end counts, for both.
        let uncounted = Traffic::default();
        let traffic = if matches!(self.way, Way::Local(_)) { &uncounted } else { &**record.traffic() };
        traffic.add_to_server(read.len());
        let mut app = match self.app.take() {
            Some(app) => app,
            None => self.way.application(self.client, self.address).await?,
        };
        let relayed = async {
            app.write_all(&read).await?;
            tcp::copy(io, &mut app, traffic).await
        };
        let relayed = self.held.during(async { relayed.await.at(Stage::Relay, "RESET") }).await;
        relayed.inspect_err(|_| super::reset(&app))
    }

    async fn admit_opaque(&self, sni: Option<Arc<str>>, record: &Open) -> Result<(), Failed> {
        let mut asked: Arc<[Arc<str>]> = Arc::default();
        loop {
            // Before it is decided, so that no change is missed in between.
            self.held.carries(Carried::Opaque(sni.clone(), Arc::clone(&asked)));
            let now = self.mesh.snapshots.snapshot();
            let workload = now.workload(&self.workload.id).unwrap_or(&self.workload);
            let connection = Connection::new(&self.peer, self.client, self.address).with_sni(sni.as_deref());
            let decided = admit::decide(&now, workload, &connection, &asked);
            if decided.outcome.as_ref().map_or(true, Vec::is_empty) {
                record.told(&decided.reports);
                return decided.unasked();
            }
            let names = decided.outcome?;
            let pod = reach::pod((&self.mesh, &self.way), workload, self.address);
            let asker =
                Asker { mesh: &self.mesh, pod, workload, address: self.address, peer: &self.peer, client: self.client };
            for name in &names {
                let answer = asker.ask(&now, name, Subject::Connection(sni.as_deref())).await;
                answer.map_err(|refused| Failed::new(Stage::Policy, "UAEX", refused.why))?;
            }
            asked = asked.iter().chain(&names).cloned().collect();
        }
    }

    async fn requests<S>(self, io: S, record: &Arc<Open>) -> Result<(), Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        record.protocol(Protocol::Http);
        record.established();
        let gone = match &self.way {
            Way::Inside(pod) => pod.gone().clone(),
            Way::Local(client) => client.pod.gone().clone(),
        };
        let Self { mesh, way, workload, address, peer, client, mut held, app } = self;
        let judge = Judge { mesh, way, workload, address, peer, client };
        let (target, ready) = (record.target_so_far(), Mutex::new(app));
        let destination = Arc::new(Destination { judge, ready, record: Arc::clone(record), target });
        // One connection of the client's is as many of the application's as it has requests at once, and no other's.
        let pool = Arc::new(Pool::new());
        let served = Box::pin(http::serve(io, destination, pool, Limits::default(), gone.cancelled_owned()));
        held.during(async { served.await.at(Stage::Relay, "DPE") }).await
    }
}

/// The application, for the requests of one connection.
struct Destination {
    judge: Judge,
    /// Made already, while it was not clear what is spoken.
    ready: Mutex<Option<TcpStream>>,
    record: Arc<Open>,
    target: Arc<Target>,
}

impl Upstreams for Destination {
    type Io = TcpStream;
    type Handle = ();
    type Target = Arc<Changes>;
    type Key = ();
    type Retrying = ();
    type Place = ();

    /// Nothing goes anywhere that was not judged.
    fn route(&self, _: &Parts) -> Result<Ruling<Arc<Changes>>, Refused> {
        Err(Refused { status: StatusCode::FORBIDDEN, flag: "DENY", reason: "RBAC: access denied".into() })
    }

    async fn judged(&self, request: &Parts) -> Result<Ruling<Arc<Changes>>, Refused> {
        Ok(match Box::pin(self.judge.judge(request)).await {
            Ok(changes) => Ruling::forward(Arc::new(changes)),
            Err(refusal) => Ruling { delay: None, verdict: Verdict::Answer(*refusal) },
        })
    }

    fn shapes(&self, changes: &Arc<Changes>) -> Shapes {
        Shapes { request: changes.shape_it, response: !changes.edits.response.is_empty() }
    }

    fn shape_request(&self, changes: &Arc<Changes>, request: &mut Parts) {
        changes.shape(request);
    }

    fn shape_response(&self, changes: &Arc<Changes>, headers: &mut HeaderMap) {
        changes.edits.response.iter().for_each(|edit| edit.apply(headers));
    }

    fn terms<'a>(&'a self, _: &'a Arc<Changes>) -> Terms<'a> {
        Terms::default()
    }

    fn speaks(&self, _: &Arc<Changes>) -> Speaks {
        Speaks::AsClient
    }

    async fn enter(&self, _: &Arc<Changes>) -> Result<Option<()>, DialError> {
        Ok(None)
    }

    fn mirrors(&self, _: &Arc<Changes>) -> Vec<Arc<Changes>> {
        Vec::new()
    }

    fn key(&self, _: &Arc<Changes>) {}

    async fn dial(&self, _: &Arc<Changes>) -> Result<Dialed<TcpStream, ()>, DialError> {
        let ready = self.ready.lock().take();
        let io = match ready {
            Some(io) => Ok(io),
            None => self.judge.way.application(self.judge.client, self.judge.address).await,
        };
        match io {
            Ok(io) => Ok(Dialed { io, handle: (), wear: Wear::default(), shares: false }),
            Err(failed) => Err(DialError { flag: "UF", retriable: false, reason: Cow::Owned(failed.reason) }),
        }
    }

    fn another(&self, _: &[Arc<Changes>]) -> Option<Arc<Changes>> {
        None
    }

    fn again(&self, _: &[Arc<Changes>]) -> Option<Arc<Changes>> {
        None
    }

    fn admit_retry(&self, _: &Arc<Changes>) -> Option<()> {
        None
    }

    fn settle(&self, _: &Arc<Changes>, _: Settled) {}

    fn finished(&self, changes: Option<&Arc<Changes>>, _: Option<&()>, outcome: &RequestOutcome) {
        let mut request = told::request(outcome);
        // A rule that answered says why.
        request.error = request.rule.take().map(|why| why.to_string());
        if let Some(changes) = changes {
            request.policies = changes.told.clone();
        }
        self.record.request(&self.target, &request);
    }
}
