//! The stages of a connection's life: the words that errors, metrics and logs share.

use serde::Serialize;
use std::fmt;

/// Which way a connection crosses this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a pod of this node into the mesh.
    Outbound,
    /// From the mesh to a pod of this node.
    Inbound,
}

impl Direction {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// A stage of a connection's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The connection reached the agent.
    Capture,
    /// Who is at each end.
    Identity,
    /// Where it should go.
    Route,
    /// Whether it may go there.
    Policy,
    /// Which endpoint it goes to.
    Balance,
    /// The authenticated stream to the peer.
    Tunnel,
    /// Moving the bytes.
    Relay,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capture => "capture",
            Self::Identity => "identity",
            Self::Route => "route",
            Self::Policy => "policy",
            Self::Balance => "balance",
            Self::Tunnel => "tunnel",
            Self::Relay => "relay",
        })
    }
}
