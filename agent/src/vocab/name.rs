//! Names, each its own type, cheap to clone.

use serde::Serialize;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A Kubernetes namespace.
    Namespace
);
name!(
    /// A cluster of the mesh.
    ClusterName
);
name!(
    /// A node of a cluster.
    NodeName
);
name!(
    /// A network: pods of one network reach each other by address. Empty is the default network.
    NetworkName
);
name!(
    /// A Kubernetes service account.
    ServiceAccount
);
name!(
    /// A fully qualified, lower-case host name, such as `reviews.default.svc.cluster.local`.
    Hostname
);
name!(
    /// A subset that a DestinationRule names.
    SubsetName
);

/// A pod within its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PodId {
    /// The pod's namespace.
    pub namespace: Namespace,
    /// The pod's name.
    pub name: Arc<str>,
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod of the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct WorkloadId {
    /// The cluster that runs it.
    pub cluster: ClusterName,
    /// The pod.
    pub pod: PodId,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.pod)
    }
}
