//! Whether a connection may reach an application of this node.

use super::Mesh;
use super::admissions::{Carried, Held};
use super::failed::Failed;
use crate::model::Workload;
use crate::policy::{self, Asked, Connection, Decision, Denied, Report, Verdict};
use crate::snapshot::Snapshot;
use crate::telemetry::Open;
use crate::vocab::Stage;
use std::sync::Arc;

/// What becomes of a connection that may come in.
pub enum Admission {
    /// Its bytes go to the application as they are.
    Bytes(Held),
    /// Something that selects the workload looks at requests: what it speaks is to be heard first.
    Requests(Held, Otherwise),
}

/// What becomes of a connection that turns out to have no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It may still be let in: the application may be asked for a connection, and may speak first.
    Open,
    /// It is denied, or somebody is to be asked first: nothing of it is to reach the application before that is known.
    Later,
}

/// Decides about a connection of which no byte was looked at. `record` is the destination's.
///
/// # Errors
/// It may not.
pub fn connection(
    (mesh, now): (&Mesh, &Snapshot),
    destination: &Arc<Workload>,
    connection: &Connection<'_>,
    record: &Open,
) -> Result<Admission, Failed> {
    let Decision { verdict, reports } = policy::authorize_inbound(&now.policies, destination, connection);
    if let Verdict::Denied(denied) = verdict {
        record.told(&reports);
        return Err(refused(denied));
    }
    let by_requests = !matches!(verdict, Verdict::Allowed { .. }) || takes_tokens(now, destination, connection);
    let carried = if by_requests { Carried::Requests } else { Carried::Unheard };
    if !by_requests {
        record.told(&reports);
    }
    let held = mesh.admissions.hold(destination, connection, carried);
    // From here on it is told of changes. Of what changed before that, since `now`, nobody has told it.
    let latest = mesh.snapshots.load();
    if latest.generation != now.generation {
        let workload = latest.workload(&destination.id).unwrap_or(destination);
        match by_requests {
            true => denial(&latest, workload, connection).map_or(Ok(()), Err)?,
            false => unheard(&latest, workload, connection)?,
        }
    }
    if !by_requests {
        return Ok(Admission::Bytes(held));
    }
    let open = decide(now, destination, connection, &[]).unasked().is_ok();
    Ok(Admission::Requests(held, if open { Otherwise::Open } else { Otherwise::Later }))
}

/// Whether tokens of requests are verified.
fn takes_tokens(now: &Snapshot, destination: &Workload, connection: &Connection<'_>) -> bool {
    now.authentications_of(destination, connection.destination).next().is_some()
}

/// Decides about a connection whose bytes go to the application and that nobody has looked at.
///
/// # Errors
/// It may not, or it would have to be looked at.
pub fn unheard(now: &Snapshot, destination: &Workload, connection: &Connection<'_>) -> Result<(), Failed> {
    decide(now, destination, connection, &[]).unasked()?;
    match takes_tokens(now, destination, connection) {
        true => Err(Failed::new(Stage::Policy, "DENY", "a RequestAuthentication came, and it was not looked into")),
        false => Ok(()),
    }
}

/// What was decided.
pub struct Decided {
    /// Whom to ask first, if anybody; or that it may not.
    pub outcome: Result<Vec<Arc<str>>, Failed>,
    /// What policies have to say that decide nothing.
    pub reports: Vec<Report>,
}

impl Decided {
    /// What it is where nobody can be asked.
    ///
    /// # Errors
    /// It may not, or somebody would have to be asked.
    pub fn unasked(self) -> Result<(), Failed> {
        match self.outcome?.first() {
            Some(name) => {
                let reason = format!("the external authorizer {name} is to be asked, and was not");
                Err(Failed::new(Stage::Policy, "DENY", reason))
            }
            None => Ok(()),
        }
    }
}

/// The decision about a connection that is carried as bytes. `asked` are the external authorizers that allow it.
pub fn decide(now: &Snapshot, destination: &Workload, connection: &Connection<'_>, asked: &[Arc<str>]) -> Decided {
    let opaque = |asked| policy::authorize_opaque(&now.policies, destination, connection, asked);
    let mut decision = policy::authorize_inbound(&now.policies, destination, connection);
    if matches!(decision.verdict, Verdict::Undecided) {
        decision = opaque(Asked::No);
    }
    if matches!(&decision.verdict, Verdict::Ask(names) if names.iter().all(|name| asked.contains(name))) {
        decision = opaque(Asked::Passed);
    }
    let outcome = match decision.verdict {
        Verdict::Allowed { .. } => Ok(Vec::new()),
        Verdict::Ask(names) => Ok(names),
        Verdict::Denied(denied) => Err(refused(denied)),
        Verdict::Undecided => Err(Failed::new(Stage::Policy, "DENY", "it is not decided")),
    };
    Decided { outcome, reports: decision.reports }
}

/// Why a connection may not come in, whatever is requested on it.
pub fn denial(now: &Snapshot, destination: &Workload, connection: &Connection<'_>) -> Option<Failed> {
    match policy::authorize_inbound(&now.policies, destination, connection).verdict {
        Verdict::Denied(denied) => Some(refused(denied)),
        _ => None,
    }
}

fn refused(denied: Denied) -> Failed {
    Failed::new(Stage::Policy, "DENY", denied)
}
