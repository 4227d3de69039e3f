//! Whether one request may come in, and as what.

use super::Way;
use super::changes::Changes;
use crate::connection::Mesh;
use crate::model::Workload;
use crate::policy::{self, Asked, Connection, Denied, Peer, Report, Request, Verdict};
use crate::route::Answer;
use ::http::StatusCode;
use ::http::header::HOST;
use ::http::request::Parts;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What Istio's users know.
const DENIED: &str = "RBAC: access denied";
/// As for connections that a policy denies.
const FLAG: &str = "DENY";

/// What decisions about the requests of one connection need.
pub(super) struct Judge {
    pub(super) mesh: Arc<Mesh>,
    pub(super) way: Way,
    pub(super) workload: Arc<Workload>,
    pub(super) address: SocketAddr,
    pub(super) peer: Peer,
    pub(super) client: IpAddr,
}

impl Judge {
    /// Decides about a request, by the configuration of now.
    ///
    /// # Errors
    /// The answer that its client gets instead.
    pub(super) async fn judge(&self, request: &Parts) -> Result<Changes, Box<Answer>> {
        let now = self.mesh.snapshots.snapshot();
        // A pod that is gone from the configuration takes nothing any more.
        let Some(workload) = now.workload(&self.workload.id) else {
            return Err(forbidden(request, "the pod is not in the configuration", None));
        };
        let connection = Connection::new(&self.peer, self.client, self.address).with_sni(None);
        let mut changes = Changes::default();
        let token = self.authenticate(&now, workload, request, &mut changes).await?;
        let seen = changes.seen(request);
        let asked = Request {
            method: seen.method.as_str(),
            path: seen.uri.path(),
            authority: authority(&seen),
            headers: &seen.headers,
            remote: self.client,
            token: token.as_ref(),
        };
        let decision = policy::authorize_request(&now.policies, workload, (&connection, &asked), Asked::No);
        let told = self.told(&decision.reports);
        match decision.verdict {
            Verdict::Allowed { .. } => {}
            Verdict::Denied(denied) => return Err(denial(request, &denied, told)),
            Verdict::Ask(_) | Verdict::Undecided => {
                return Err(forbidden(request, "an external authorizer is to be asked, and there is none", told));
            }
        }
        drop(seen);
        changes.told = told;
        if let Some(client) = self.peer.identity() {
            changes.name_client(&workload.identity, client);
        }
        Ok(changes)
    }

    /// Counts what policies say that decide nothing; the text for the log.
    fn told(&self, reports: &[Report]) -> Option<Arc<str>> {
        reports.iter().for_each(|report| self.mesh.telemetry.agent().told(report));
        let texts: Vec<String> = reports.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(", ").into())
    }
}

/// Of several ways to say it, the one that the application gets too.
pub(super) fn authority(request: &Parts) -> &str {
    let host = || request.headers.get(HOST).and_then(|host| host.to_str().ok());
    request.uri.authority().map(|authority| authority.as_str()).or_else(host).unwrap_or_default()
}

fn denial(request: &Parts, denied: &Denied, told: Option<Arc<str>>) -> Box<Answer> {
    forbidden(request, &denied.to_string(), told)
}

fn forbidden(request: &Parts, why: &str, told: Option<Arc<str>>) -> Box<Answer> {
    let answer = Answer::new(request, StatusCode::FORBIDDEN, DENIED.into());
    Box::new(Answer { flag: FLAG, rule: Some(why.into()), told, ..answer })
}
