//! Whether a caller may have an identity.

use super::api::ApiError;
use super::caller::{Caller, Home};
use super::pods::Pods;
use crate::vocab::{NodeName, PodId, SpiffeId};
use thiserror::Error;

/// Why a caller does not get an identity.
#[derive(Debug, Error)]
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
    /// It cannot be known.
    #[error("which pods are on the caller's node is not known: {0}")]
    NotKnown(#[from] ApiError),
}

impl Denied {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotOurs(..) => "foreign_identity",
            Self::NotTrusted(_) => "not_trusted",
            Self::NoNode | Self::UnknownPod(_) | Self::ElsewhereNow { .. } => "unknown_node",
            Self::NotOnNode { .. } => "not_on_node",
            Self::NotKnown(_) => "pods_unknown",
        }
    }
}

/// What authorization needs to know.
pub struct Rules {
    /// Namespaces and accounts that may ask for others.
    pub trusted: Vec<(String, String)>,
    /// Where which pods are.
    pub pods: Pods,
}

impl Rules {
    /// Whether the caller may have what it asks for: itself where it names nobody.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn authorize(&self, caller: &Caller, asked: Option<&str>) -> Result<SpiffeId, Denied> {
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
        let node = self.node_of(caller.home.as_ref().ok_or(Denied::NoNode)?).await?;
        if self.pods.is_on(&node, &id).await? {
            return Ok(id);
        }
        Err(Denied::NotOnNode { id, node })
    }

    /// The node that the token is bound to. Where the API server names it, a pod that the CA knows must agree; where it
    /// does not (before Kubernetes 1.30), the pod says.
    async fn node_of(&self, home: &Home) -> Result<NodeName, Denied> {
        let pod = match &home.pod {
            Some(pod) => self.pods.node_of(pod).await?,
            None => None,
        };
        match (&home.node, pod, &home.pod) {
            (Some(token), Some(node), Some(id)) if node != *token => {
                Err(Denied::ElsewhereNow { token: token.clone(), pod: id.clone(), node })
            }
            (Some(node), _, _) => Ok(node.clone()),
            (None, Some(node), _) => Ok(node),
            (None, None, Some(id)) => Err(Denied::UnknownPod(id.clone())),
            (None, None, None) => Err(Denied::NoNode),
        }
    }
}
