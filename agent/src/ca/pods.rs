//! Where which pods run: as manifests say, or the API server.

use super::api::{Api, ApiError};
use crate::snapshot::Reader;
use crate::vocab::{ClusterName, Namespace, NodeName, PodId, ServiceAccount, SpiffeId, TrustDomain, WorkloadId};
use http::StatusCode;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the API server's answer is believed where it allows.
const FRESH: Duration = Duration::from_secs(10);
/// How long where it does not: an agent may be told of a new pod before the CA, and asks again.
const REFUSED: Duration = Duration::from_millis(500);

/// Who knows.
pub enum Pods {
    /// The manifests' pods of this cluster.
    Manifests(ClusterName, Reader),
    /// The API server's.
    Api(Asked),
}

/// What the API server said, by node.
pub struct Asked {
    api: Arc<Api>,
    trust_domain: TrustDomain,
    nodes: Mutex<Nodes>,
}

/// When it was asked, and who is there.
type Nodes = HashMap<NodeName, (Instant, Arc<BTreeSet<SpiffeId>>)>;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    items: Vec<Pod>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    service_account_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

impl Pods {
    /// The API server's.
    pub fn of_api(api: Arc<Api>, trust_domain: TrustDomain) -> Self {
        Self::Api(Asked { api, trust_domain, nodes: Mutex::default() })
    }

    /// The node of a pod.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub async fn node_of(&self, pod: &PodId) -> Result<Option<NodeName>, ApiError> {
        match self {
            Self::Manifests(cluster, reader) => {
                let id = WorkloadId { cluster: cluster.clone(), pod: pod.clone() };
                Ok(reader.load().workload(&id).map(|pod| pod.node.clone()))
            }
            Self::Api(asked) => asked.node_of(pod).await,
        }
    }

    /// Whether a pod of that identity is on a node.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub async fn is_on(&self, node: &NodeName, id: &SpiffeId) -> Result<bool, ApiError> {
        match self {
            Self::Manifests(cluster, reader) => {
                Ok(reader.load().local_pods(cluster, node).any(|pod| pod.identity == *id))
            }
            Self::Api(asked) => asked.is_on(node, id).await,
        }
    }
}

impl Asked {
    async fn node_of(&self, pod: &PodId) -> Result<Option<NodeName>, ApiError> {
        let (namespace, name) = (pod.namespace.as_str(), &*pod.name);
        if !is_name(namespace) || !is_name(name) {
            return Ok(None);
        }
        match self.api.get::<Pod>(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await {
            Ok(pod) => Ok(Some(pod.spec.node_name.into()).filter(|_: &NodeName| pod.status.is_running())),
            Err(ApiError::Status(StatusCode::NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn is_on(&self, node: &NodeName, id: &SpiffeId) -> Result<bool, ApiError> {
        let known = self.nodes().get(node).cloned();
        if let Some((at, identities)) = known {
            let has = identities.contains(id);
            if at.elapsed() < if has { FRESH } else { REFUSED } {
                return Ok(has);
            }
        }
        if !is_name(node.as_str()) {
            return Ok(false);
        }
        let identities = Arc::new(self.list(node).await?);
        let has = identities.contains(id);
        let mut nodes = self.nodes();
        nodes.retain(|_, (at, _)| at.elapsed() < FRESH);
        nodes.insert(node.clone(), (Instant::now(), identities));
        Ok(has)
    }

    async fn list(&self, node: &NodeName) -> Result<BTreeSet<SpiffeId>, ApiError> {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        let pods = self.api.get::<Listed>(&path).await?.items.into_iter();
        // Where the selector was not understood, all pods come.
        let here = pods.filter(|pod| pod.spec.node_name == node.as_str() && pod.status.is_running());
        Ok(here.map(|pod| self.identity(pod)).collect())
    }

    fn identity(&self, pod: Pod) -> SpiffeId {
        let account = pod.spec.service_account_name;
        SpiffeId {
            trust_domain: self.trust_domain.clone(),
            namespace: Namespace::from(pod.metadata.namespace),
            service_account: ServiceAccount::from(if account.is_empty() { "default".to_owned() } else { account }),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn is_running(&self) -> bool {
        !matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// What Kubernetes calls a DNS subdomain name: nothing of it means anything in a path.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) && !text.starts_with('.')
}
