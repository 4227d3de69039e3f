//! Whether one request may come in, and as what.

use super::Way;
use super::changes::Changes;
use super::external::{Asker, Refused, Subject};
use crate::connection::Mesh;
use crate::connection::dial::Client;
use crate::model::Workload;
use crate::policy::{self, Asked, Connection, Decision, Denied, Peer, Report, Request, Token, Verdict};
use crate::route::Answer;
use crate::snapshot::Snapshot;
use ::http::StatusCode;
use ::http::header::HOST;
use ::http::request::Parts;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What Istio's users know.
const DENIED: &str = "RBAC: access denied";
/// Envoy's flag for what an external authorizer denies, or has no answer about.
const AUTHORIZER: &str = "UAEX";
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
        let mut changes = Changes::default();
        let token = self.authenticate(&now, workload, request, &mut changes).await?;
        if let Some(client) = self.peer.identity() {
            changes.name_client(&workload.identity, client);
        }
        let mut seen = changes.seen(request);
        let mut decision = self.decide((&now, workload), &seen, token.as_ref(), Asked::No);
        if let Verdict::Ask(names) = &decision.verdict {
            let pod = self.as_client();
            for name in names {
                let answer = self.asker(workload, pod.clone()).ask(&now, name, Subject::Request(&seen)).await;
                changes.edits.extend(answer.map_err(|refused| refusal(request, refused))?);
                seen = changes.seen(request);
            }
            decision = self.decide((&now, workload), &seen, token.as_ref(), Asked::Passed);
        }
        drop(seen);
        let told = self.told(&decision.reports);
        match decision.verdict {
            Verdict::Allowed { .. } => {}
            Verdict::Denied(denied) => return Err(denial(request, &denied, told)),
            Verdict::Ask(_) | Verdict::Undecided => return Err(forbidden(request, "it is not decided", told)),
        }
        changes.told = told;
        Ok(changes)
    }

    fn decide(
        &self,
        (now, workload): (&Snapshot, &Workload),
        seen: &Parts,
        token: Option<&Token>,
        asked: Asked,
    ) -> Decision {
        let connection = Connection::new(&self.peer, self.client, self.address).with_sni(None);
        let request = Request {
            method: seen.method.as_str(),
            path: seen.uri.path(),
            authority: authority(seen),
            headers: &seen.headers,
            remote: self.client,
            token,
        };
        policy::authorize_request(&now.policies, workload, (&connection, &request), asked)
    }

    fn asker<'a>(&'a self, workload: &'a Workload, pod: Option<Client>) -> Asker<'a> {
        Asker { mesh: &self.mesh, pod, workload, address: self.address, peer: &self.peer, client: self.client }
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

/// What an external authorizer says, in place of the application.
fn refusal(request: &Parts, refused: Refused) -> Box<Answer> {
    let mut answer = Answer::new(request, refused.status, refused.body);
    // Headers of its own stand instead of ours.
    for name in refused.headers.keys() {
        answer.headers.remove(name);
    }
    if answer.grpc_status.is_none() {
        answer.headers.extend(refused.headers);
    }
    Box::new(Answer { flag: AUTHORIZER, rule: Some(refused.why.into()), ..answer })
}

fn denial(request: &Parts, denied: &Denied, told: Option<Arc<str>>) -> Box<Answer> {
    forbidden(request, &denied.to_string(), told)
}

fn forbidden(request: &Parts, why: &str, told: Option<Arc<str>>) -> Box<Answer> {
    let answer = Answer::new(request, StatusCode::FORBIDDEN, DENIED.into());
    Box::new(Answer { flag: FLAG, rule: Some(why.into()), told, ..answer })
}
