//! Whether a connection may reach an application of this node.

use super::failed::Failed;
use crate::model::Workload;
use crate::policy::{self, Asked, Connection, Denied, Verdict};
use crate::snapshot::Snapshot;
use crate::vocab::Stage;

/// Decides about a connection that is carried as bytes.
pub fn opaque(now: &Snapshot, destination: &Workload, connection: &Connection<'_>) -> Result<(), Failed> {
    let first = policy::authorize_inbound(&now.policies, destination, connection);
    let decision = match first.verdict {
        Verdict::Undecided => policy::authorize_opaque(&now.policies, destination, connection, Asked::No),
        _ => first,
    };
    match decision.verdict {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Denied(denied) => Err(refused(denied)),
        Verdict::Undecided | Verdict::Ask(_) => {
            Err(Failed::new(Stage::Policy, "DENY", "an external authorizer is to be asked, and there is none"))
        }
    }
}

fn refused(denied: Denied) -> Failed {
    Failed::new(Stage::Policy, "DENY", denied)
}
