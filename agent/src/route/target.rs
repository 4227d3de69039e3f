//! One destination of a rule, bound to the compiled host.

use super::{Backends, Upstream};
use crate::model::{Destination, Workload};
use crate::vocab::{Hostname, Namespace, SubsetName};
use std::sync::Arc;

/// One destination of a rule.
#[derive(Debug)]
pub(super) struct Target {
    backends: Option<Arc<Backends>>,
    port: Option<u16>,
    subset: Option<SubsetName>,
    /// As text, for the log.
    pub(super) name: Arc<str>,
}

impl Target {
    pub(super) fn new(to: &Destination, find: impl Fn(&Hostname) -> Option<Arc<Backends>>) -> Self {
        let (port, subset, backends) = (to.port, to.subset.clone(), find(&to.host));
        let name = describe(to, backends.as_deref()).into();
        Self { backends, port, subset, name }
    }

    /// What it is for a client that used this service port; none where there is no such thing.
    pub(super) fn upstream(&self, client: &Workload, used: u16) -> Option<Arc<Upstream>> {
        let backends = self.backends.as_ref()?;
        let port = match (self.port, backends.ports()) {
            (Some(port), _) => backends.port(port)?,
            (None, [only]) => only,
            (None, _) => backends.port(used)?,
        };
        backends.upstream(client, port, self.subset.as_ref())
    }

    /// What is not there, seen from the rules' own namespace: a code and a text.
    pub(super) fn fault(&self, namespace: &Namespace, to: &Destination) -> Option<(&'static str, String)> {
        let Some(backends) = &self.backends else {
            return Some(("missing-host", format!("no cluster has a Service {}", to.host)));
        };
        if let Some(port) = to.port.filter(|port| backends.port(*port).is_none()) {
            return Some(("missing-port", format!("{} has no port {port}", to.host)));
        }
        let subset = to.subset.as_ref()?;
        let Some(rule) = backends.rule(namespace) else {
            let message = format!("no DestinationRule defines subset {subset} of {}", to.host);
            return Some(("missing-subset", message));
        };
        if rule.subsets.iter().any(|defined| defined.name == *subset) {
            return None;
        }
        let message = format!("DestinationRule {} has no subset {subset} of {}", rule.id, to.host);
        Some(("missing-subset", message))
    }
}

fn describe(to: &Destination, backends: Option<&Backends>) -> String {
    let subset = to.subset.as_ref().map(|subset| format!(" subset {subset}")).unwrap_or_default();
    let port = match (to.port, backends) {
        (Some(port), _) => format!(":{port}"),
        (None, Some(backends)) if backends.ports().len() != 1 => ", with the client's port".into(),
        (None, _) => String::new(),
    };
    format!("{}{port}{subset}", to.host)
}
