//! What only the first bytes of a connection tell: where it goes if nobody declared what it speaks, or if it is TLS.

use super::matching::tcp_match;
use super::resolve::Plan;
use super::{Binding, HttpTable, Refusal, Upstream};
use crate::model::{AppProtocol, Workload};
use crate::vocab::OrigDst;
use fastrand::Rng;
use std::sync::Arc;

/// What a client was heard to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1 or HTTP/2.
    Requests,
    /// TLS, with the name that it asks for, in lower case.
    Tls(Option<Arc<str>>),
    /// Anything else.
    Bytes,
}

/// A connection whose way depends on what the client says.
#[derive(Clone, Debug)]
pub struct Undecided {
    /// For requests.
    pub(super) http: Option<HttpTable>,
    /// For TLS: the VirtualService whose rules may take it.
    pub(super) tls: Option<Arc<Binding>>,
    /// The service port that the client used.
    pub(super) whole: Arc<Upstream>,
    /// The address that the client used, with the service's port.
    pub(super) used: OrigDst,
    /// For anything else, and where the server speaks first.
    pub(super) otherwise: Plan,
    /// Whether that is so by a rule for TCP, which takes what the rules for TLS do not, as in Istio.
    pub(super) tcp_ruled: bool,
}

impl Undecided {
    /// Whether the client certainly speaks first, because that is how TLS begins.
    pub fn awaits_client(&self) -> bool {
        self.whole.protocol == AppProtocol::Tls
    }

    /// Where it goes while the client says nothing.
    pub fn otherwise(&self) -> &Plan {
        &self.otherwise
    }

    /// Whether this is where it goes while the client says nothing.
    pub fn leads_to(&self, upstream: &Arc<Upstream>) -> bool {
        matches!(&self.otherwise, Plan::Tcp(otherwise) if Arc::ptr_eq(otherwise, upstream))
    }

    /// The rules for requests.
    pub fn requests(&self) -> Option<&HttpTable> {
        self.http.as_ref()
    }

    /// Where it goes now that the client has spoken.
    pub fn heard(&self, spoken: &Spoken, source: &Workload, rng: &mut Rng) -> Plan {
        match (spoken, &self.http, &self.tls) {
            (Spoken::Requests, Some(table), _) => Plan::Http(table.clone()),
            (Spoken::Tls(name), _, Some(binding)) => self.tls(binding, name.as_deref(), source, rng),
            // Rules for TLS alone on a port for TLS: what is none goes nowhere, as in Istio.
            (_, _, Some(_)) if self.awaits_client() => self.untaken("is not TLS"),
            _ => self.otherwise.clone(),
        }
    }

    fn tls(&self, binding: &Binding, name: Option<&str>, source: &Workload, rng: &mut Rng) -> Plan {
        match binding.choose_tls((source, self.used), name, &self.whole.service, rng) {
            Some(Ok(upstream)) => Plan::Tcp(upstream),
            Some(Err(refusal)) => Plan::Refused(refusal),
            None => self.untaken(name.unwrap_or("asks for no name")),
        }
    }

    fn untaken(&self, what: &str) -> Plan {
        if self.tcp_ruled {
            return self.otherwise.clone();
        }
        Plan::Refused(Refusal::NoTlsRule { service: Arc::clone(&self.whole.service), what: what.into() })
    }
}

/// Whether any TLS rule may take a connection of this client, depending on the name that it asks for.
pub(super) fn tls_concerns(binding: &Binding, source: &Workload, dst: OrigDst) -> bool {
    let mut matches = binding.rules.tls.iter().flat_map(|rule| &rule.matches);
    matches.any(|one| tcp_match(&one.connection, source, dst))
}
