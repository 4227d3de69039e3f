//! Whether a caller may have an identity. Pure.

use super::caller::{Caller, Home};
use crate::snapshot::Snapshot;
use crate::vocab::{ClusterName, NodeName, PodId, SpiffeId, WorkloadId};
use thiserror::Error;

/// Why a caller does not get an identity.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// The name is no identity, or of another mesh.
    #[error("`{0}` is no identity of trust domain `{1}`")]
    NotOurs(String, String),
    /// A workload asks for another.
    #[error("`{0}` is no trusted node agent (--trusted-node-agents): it may ask for itself only")]
    NotTrusted(String),
    /// A trusted account without a token that is bound to a pod, such as one who shows a certificate.
    #[error(
        "the caller's token does not say on which node it is: identities of others need one that is bound to a pod"
    )]
    NoNode,
    /// Of a pod that is not there: a token of a pod that is gone, or stolen from another cluster.
    #[error("the caller's pod `{0}` is not known here")]
    UnknownPod(PodId),
    /// The token's claims and the pods disagree.
    #[error("the caller's token is of node `{token}`, its pod `{pod}` is on `{node}`")]
    ElsewhereNow {
        /// What the token says.
        token: NodeName,
        /// The caller's pod.
        pod: PodId,
        /// Where that is.
        node: NodeName,
    },
    /// Another node's.
    #[error("no pod of `{id}` is on the caller's node `{node}`")]
    NotOnNode {
        /// Who was asked for.
        id: SpiffeId,
        /// The caller's node.
        node: NodeName,
    },
}

impl Denied {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotOurs(..) => "foreign_identity",
            Self::NotTrusted(_) => "not_trusted",
            Self::NoNode | Self::UnknownPod(_) | Self::ElsewhereNow { .. } => "unknown_node",
            Self::NotOnNode { .. } => "not_on_node",
        }
    }
}

/// What authorization needs to know.
pub struct Rules<'a> {
    /// The cluster of the CA.
    pub cluster: &'a ClusterName,
    /// Namespaces and accounts that may ask for others.
    pub trusted: &'a [(String, String)],
    /// Where which pods are.
    pub now: &'a Snapshot,
}

impl Rules<'_> {
    /// Whether the caller may have what it asks for: itself where it names nobody.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn authorize(&self, caller: &Caller, asked: Option<&str>) -> Result<SpiffeId, Denied> {
        let Some(asked) = asked else {
            return Ok(caller.id.clone());
        };
        let domain = &caller.id.trust_domain;
        let id = asked.parse::<SpiffeId>().ok().filter(|id| id.trust_domain == *domain);
        let id = id.ok_or_else(|| Denied::NotOurs(asked.to_owned(), domain.to_string()))?;
        if id == caller.id {
            return Ok(id);
        }
        let (namespace, account) = (caller.id.namespace.as_str(), caller.id.service_account.as_str());
        if !self.trusted.iter().any(|(ns, sa)| ns == namespace && sa == account) {
            return Err(Denied::NotTrusted(format!("{namespace}/{account}")));
        }
        let node = self.node_of(caller.home.as_ref().ok_or(Denied::NoNode)?)?;
        if self.now.local_pods(self.cluster, &node).any(|pod| pod.identity == id) {
            return Ok(id);
        }
        Err(Denied::NotOnNode { id, node })
    }

    /// The node that the token is bound to. Where the API server names it, a pod that the CA knows must agree; where it
    /// does not (before Kubernetes 1.30), the pod says.
    fn node_of(&self, home: &Home) -> Result<NodeName, Denied> {
        let id = home.pod.as_ref().map(|pod| WorkloadId { cluster: self.cluster.clone(), pod: pod.clone() });
        let pod = id.as_ref().and_then(|id| self.now.workload(id));
        match (&home.node, pod, &home.pod) {
            (Some(node), Some(pod), Some(id)) if pod.node != *node => {
                Err(Denied::ElsewhereNow { token: node.clone(), pod: id.clone(), node: pod.node.clone() })
            }
            (Some(node), _, _) => Ok(node.clone()),
            (None, Some(pod), _) => Ok(pod.node.clone()),
            (None, None, Some(id)) => Err(Denied::UnknownPod(id.clone())),
            (None, None, None) => Err(Denied::NoNode),
        }
    }
}
