//! What a routing decision ends in: a port of a service, or a subset of it, with its endpoints.

use super::affinity::{self, Affinity};
use crate::balance::{Group, Limit, Overflow, Slot, Standing};
use crate::model::traffic_policy::{Algorithm, HashKey, HttpPool, RetryBudget};
use crate::model::{AppProtocol, PortPolicy};
use crate::vocab::{Hostname, Namespace, SubsetName};
use http::request::Parts;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// One port of a service, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceRef {
    /// The service's host name.
    pub host: Hostname,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
    /// The service port, not the endpoints'.
    pub port: u16,
}

/// Where a connection or request goes; `balance::pick` takes one endpoint of the group.
#[derive(Debug)]
pub struct Upstream {
    /// The service port.
    pub service: Arc<ServiceRef>,
    /// The subset, where a rule named one.
    pub subset: Option<SubsetName>,
    /// What the service port speaks.
    pub protocol: AppProtocol,
    /// The endpoints.
    pub group: Group,
    /// What the DestinationRule in force says.
    pub policy: Arc<PortPolicy>,
    /// What is under way to it, the same value in every snapshot.
    pub standing: Arc<Standing>,
}

impl Upstream {
    /// What a request's consistent hash is of.
    pub fn hash(&self, request: &Parts, client: IpAddr) -> Affinity {
        self.hash_key().map_or_else(Affinity::default, |key| affinity::of_request(key, request, client))
    }

    /// What a connection's consistent hash is of: of bytes, only the client is known.
    pub fn hash_connection(&self, client: IpAddr) -> Option<u64> {
        (*self.hash_key()? == HashKey::SourceIp).then(|| affinity::of_client(client))
    }

    /// Whether what is said of it is to be done request by request, if requests are what it is sent.
    pub fn wants_requests(&self) -> bool {
        let PortPolicy { load_balancer, connection_pool, outlier, retry_budget, .. } = &*self.policy;
        let limits = connection_pool.as_ref().is_some_and(|pool| pool.http != HttpPool::default());
        let said = load_balancer.is_some() || outlier.is_some() || retry_budget.is_some() || limits;
        said && (self.protocol.is_http() || self.protocol == AppProtocol::Unknown)
    }

    fn hash_key(&self) -> Option<&HashKey> {
        match &self.policy.load_balancer.as_ref()?.algorithm {
            Algorithm::ConsistentHash { key, .. } => Some(key),
            _ => None,
        }
    }

    /// One more connection, until the slot is dropped.
    ///
    /// # Errors
    /// `maxConnections` are open.
    pub fn admit_connection(&self) -> Result<Slot, Overflow> {
        self.admit(Limit::Connections)
    }

    /// One more request, until the slot is dropped.
    ///
    /// # Errors
    /// `http2MaxRequests` are under way.
    pub fn admit_request(&self) -> Result<Slot, Overflow> {
        if let Some(interval) = self.policy.retry_budget.and_then(|budget| budget.interval) {
            self.standing.recent().begun(Instant::now(), interval);
        }
        self.admit(Limit::Requests)
    }

    /// One more request that waits for a connection, until the slot is dropped.
    ///
    /// # Errors
    /// `http1MaxPendingRequests` wait.
    pub fn admit_pending(&self) -> Result<Slot, Overflow> {
        self.admit(Limit::Pending)
    }

    /// One more retry, until the slot is dropped: of a budget if there is one, else of `maxRetries`; of a wide budget
    /// where nothing is said.
    ///
    /// # Errors
    /// As many are under way as may be.
    pub fn admit_retry(&self) -> Result<Slot, Overflow> {
        let most = match (&self.policy.retry_budget, Limit::Retries.of(&self.policy)) {
            (Some(budget), _) => self.share(budget),
            (None, Some(most)) => most,
            (None, None) => self.share(&WIDE),
        };
        self.standing.admit(Limit::Retries, Some(most))
    }

    fn share(&self, budget: &RetryBudget) -> u32 {
        let lately = budget.interval.map(|interval| self.standing.recent().count(Instant::now(), interval));
        let requests = self.standing.open(Limit::Requests).max(lately.unwrap_or_default());
        let share = f64::from(requests) * budget.percent / 100.0;
        budget.minimum.max(share as u32)
    }

    fn admit(&self, limit: Limit) -> Result<Slot, Overflow> {
        self.standing.admit(limit, limit.of(&self.policy))
    }
}

/// More than the failure of an endpoint needs, and still no storm when all of them fail.
const WIDE: RetryBudget = RetryBudget { percent: 20.0, minimum: 100, interval: None };
