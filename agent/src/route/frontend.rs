//! What clients see of a service: its ports, and the VirtualServices that may be in force for it.

use super::attached::{Attached, RouteSet};
use super::host::{specificity, visible};
use super::{Backends, Refusal};
use crate::model::{AppProtocol, HttpMatch, HttpRule, VirtualService};
use crate::vocab::Namespace;
use std::cmp::Reverse;
use std::sync::Arc;

/// A service as its clients reach it.
#[derive(Debug)]
pub struct Frontend {
    backends: Arc<Backends>,
    candidates: Box<[Candidate]>,
    attached: Option<Arc<Attached>>,
}

/// A VirtualService that covers the host.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// How narrow the covering host pattern is.
    pub specificity: usize,
    /// The rules.
    pub rules: Arc<VirtualService>,
}

impl Candidate {
    /// A VirtualService that covers a host by this pattern.
    pub fn new(pattern: &str, rules: Arc<VirtualService>) -> Self {
        Self { specificity: specificity(pattern), rules }
    }
}

impl Frontend {
    /// A service with all VirtualServices that cover it and all routes of the Gateway API that are attached to it.
    pub fn new(backends: Arc<Backends>, mut candidates: Vec<Candidate>, attached: Option<Arc<Attached>>) -> Self {
        let service = backends.namespace();
        candidates.sort_by(|a, b| {
            let key = |one: &Candidate| (Reverse(one.specificity), one.rules.id.namespace != *service);
            key(a).cmp(&key(b)).then_with(|| a.rules.id.cmp(&b.rules.id))
        });
        Self { backends, candidates: candidates.into(), attached }
    }

    /// The service's endpoints.
    pub fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }

    /// The VirtualServices that cover it, in order of precedence for clients that have none of their own.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The routes of the Gateway API that are attached to it.
    pub fn attached(&self) -> Option<&Arc<Attached>> {
        self.attached.as_ref()
    }

    /// The routes of the Gateway API in force at a port for clients of a namespace.
    pub fn routes(&self, port: u16, client: &Namespace) -> Option<&RouteSet> {
        self.attached.as_ref()?.set(port, client)
    }

    /// The VirtualService in force for clients of a namespace: the narrowest host, then their own namespace's,
    /// then the service's, then by namespace and name. Others are not merged with it.
    pub fn rules(&self, client: &Namespace) -> Option<&Arc<VirtualService>> {
        let seen = |one: &&Candidate| visible(&one.rules.export_to, client);
        let first = self.candidates.iter().find(seen)?;
        let peers = self.candidates.iter().filter(seen).filter(|one| one.specificity == first.specificity);
        let own = peers.into_iter().find(|one| one.rules.id.namespace == *client);
        Some(&own.unwrap_or(first).rules)
    }
}

/// Whether requests to a port are routed one by one under these rules: some HTTP rule may be for the port, and the port
/// speaks HTTP or does not say what it speaks, so that the first bytes tell.
pub fn routes_requests(rules: &VirtualService, port: u16, protocol: AppProtocol) -> bool {
    let here = |one: &HttpMatch| one.port.is_none_or(|wanted| wanted == port);
    let concerns = |rule: &HttpRule| rule.matches.is_empty() || rule.matches.iter().any(here);
    (protocol.is_http() || protocol == AppProtocol::Unknown) && rules.http.iter().any(concerns)
}

impl Frontend {
    /// The refusal of a port that the service does not have.
    pub(super) fn no_such_port(&self, port: u16) -> Refusal {
        Refusal::NoSuchPort { host: self.backends.host().clone(), port }
    }
}
