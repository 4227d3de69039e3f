//! External authorizers: asked about what a CUSTOM policy matches, before anything of it reaches the application.

mod grpc;
mod http_check;
mod lines;
mod protocol;

pub use lines::Authorizers;

use super::edits::Edits;
use super::reach;
use crate::connection::Mesh;
use crate::connection::dial::Client;
use crate::model::Workload;
use crate::model::extension_provider::{Authorizer, CheckProtocol};
use crate::policy::Peer;
use crate::snapshot::Snapshot;
use ::http::request::Parts;
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::timeout;

/// What is asked about.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A request, as policies see it.
    Request(&'a Parts),
    /// A connection that speaks no HTTP, and the name in its TLS hello.
    Connection(Option<&'a str>),
}

/// Who asks, and about whose traffic.
pub struct Asker<'a> {
    /// The agent's.
    pub mesh: &'a Arc<Mesh>,
    /// The pod that the traffic is for; none where it is not captured.
    pub pod: Option<Client>,
    /// The same pod in configuration.
    pub workload: &'a Workload,
    /// The application.
    pub address: SocketAddr,
    /// Who the client is.
    pub peer: &'a Peer,
    /// Where it comes from.
    pub client: IpAddr,
}

/// What is not let in.
#[derive(Debug)]
pub struct Refused {
    /// The client's answer.
    pub status: StatusCode,
    /// Its headers; those of a text where there are none.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// For the log.
    pub why: String,
}

/// An answer, or why there is none.
type Answered = Result<Result<Edits, Refused>, String>;

/// As Istio's users know it.
const DENIED: &[u8] = b"RBAC: access denied";

impl Asker<'_> {
    /// Asks one authorizer.
    ///
    /// # Errors
    /// It denies, or cannot be asked.
    pub async fn ask(&self, now: &Snapshot, name: &Arc<str>, subject: Subject<'_>) -> Result<Edits, Refused> {
        let Some(authorizer) = now.authorizer(name) else {
            return Err(refused(StatusCode::FORBIDDEN, format!("there is no external authorizer {name}")));
        };
        // What is for the authorizer itself it cannot be asked about: that would never end.
        if now.leads_to(&authorizer.host, self.address) {
            return Ok(Edits::default());
        }
        let answered = match timeout(authorizer.timeout, self.answer(authorizer, subject)).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {:?}", authorizer.timeout)),
        };
        let result = match &answered {
            Ok(Ok(_)) => "allowed",
            Ok(Err(_)) => "denied",
            Err(_) => "failed",
        };
        self.mesh.telemetry.agent().authorizer_asked(name, result);
        match answered {
            Ok(Ok(edits)) => Ok(edits),
            Ok(Err(refused)) => Err(Refused { why: format!("denied by authorizer {name}{}", refused.why), ..refused }),
            Err(error) => {
                tracing::warn!(authorizer = %name, error, open = authorizer.fail_open, "no answer of an authorizer");
                match authorizer.fail_open {
                    true => Ok(Edits::default()),
                    false => Err(refused(authorizer.status_on_error, format!("authorizer {name}: {error}"))),
                }
            }
        }
    }

    async fn answer(&self, authorizer: &Authorizer, subject: Subject<'_>) -> Answered {
        let Some(pod) = &self.pod else { return Err("the pod is not captured".to_owned()) };
        match (&authorizer.protocol, subject) {
            (CheckProtocol::Grpc, subject) => {
                let question = grpc::question(self, subject);
                let answer = self.mesh.authorizers.ask((self.mesh, pod), authorizer, &question).await?;
                grpc::understand(&answer)
            }
            (CheckProtocol::Http(check), Subject::Request(request)) => {
                let question = http_check::question(check, request)?;
                let io = reach::to_host(self.mesh, pod, authorizer.host.as_str(), authorizer.port).await;
                let io = io.map_err(|failed| failed.to_string())?;
                let answer = crate::relay::http::ask::once(io, question, LONGEST).await;
                http_check::understand(check, answer.map_err(|error| error.to_string())?)
            }
            (CheckProtocol::Http(_), Subject::Connection(_)) => {
                Ok(Err(refused(StatusCode::FORBIDDEN, ": it is asked about requests only".to_owned())))
            }
        }
    }
}

/// The longest answer.
const LONGEST: usize = 1 << 20;

fn refused(status: StatusCode, why: String) -> Refused {
    Refused { status, headers: HeaderMap::new(), body: Bytes::from_static(DENIED), why }
}
