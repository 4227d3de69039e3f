//! Whether a connection may reach an application of this node.

use super::Mesh;
use super::admissions::Held;
use super::failed::Failed;
use crate::model::Workload;
use crate::policy::{self, Asked, Connection, Denied, Report, Verdict};
use crate::snapshot::Snapshot;
use crate::telemetry::Open;
use crate::vocab::Stage;
use std::sync::Arc;

/// Decides about a connection that is carried as bytes. `record` is the destination's.
///
/// # Errors
/// It may not.
pub fn opaque(
    (mesh, now): (&Mesh, &Snapshot),
    destination: &Arc<Workload>,
    connection: &Connection<'_>,
    record: &Open,
) -> Result<Held, Failed> {
    let Decided { outcome, reports } = decide(now, destination, connection);
    record.told(&reports);
    outcome?;
    let held = mesh.admissions.hold(destination, connection);
    // From here on it is told of changes. Of what changed before that, since `now`, nobody has told it.
    let latest = mesh.snapshots.load();
    if latest.generation != now.generation {
        decide(&latest, latest.workload(&destination.id).unwrap_or(destination), connection).outcome?;
    }
    Ok(held)
}

/// What was decided.
pub struct Decided {
    /// Whether it may.
    pub outcome: Result<(), Failed>,
    /// What policies have to say that decide nothing.
    pub reports: Vec<Report>,
}

/// The decision alone.
pub fn decide(now: &Snapshot, destination: &Workload, connection: &Connection<'_>) -> Decided {
    let first = policy::authorize_inbound(&now.policies, destination, connection);
    let decision = match first.verdict {
        Verdict::Undecided => policy::authorize_opaque(&now.policies, destination, connection, Asked::No),
        _ => first,
    };
    let outcome = match decision.verdict {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Denied(denied) => Err(refused(denied)),
        Verdict::Undecided | Verdict::Ask(_) => {
            Err(Failed::new(Stage::Policy, "DENY", "an external authorizer is to be asked, and there is none"))
        }
    };
    Decided { outcome, reports: decision.reports }
}

fn refused(denied: Denied) -> Failed {
    Failed::new(Stage::Policy, "DENY", denied)
}
