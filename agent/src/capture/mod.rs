//! How a pod's connection reaches the agent; the only module that names aya.
//!
//! Enrolling a pod is: its network namespace is found by its address, listeners are opened inside it, `sk_lookup` is
//! attached to it, and its cookie is written to a map. Nothing is put into the pod, and its open connections go on.

mod cgroup;
mod connect;
mod enrol;
mod kubelet;
mod listen;
mod load;
mod maps;
mod netns;
mod pins;
mod pods;
mod program_log;
mod source_address;
mod unmanaged;

pub use cgroup::{AgentCgroup, CgroupError};
pub use connect::{SocketIntent, connect};
pub use enrol::{Capture, CaptureError, Config, PodStatus, WantedPod, WhenDown, uninstall};
pub use kubelet::{KubeletCgroup, NoCgroupName};
pub use load::{LoadError, LoadOptions, Programs, remove_pins};
pub use maps::{Counts, MapFailed};
pub use netns::Netns;

use crate::vocab::{OrigDst, PeerAddr, PodId};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Where the outbound listener waits on the pod's loopback, Istio's port.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where the inbound listener waits; only `sk_lookup` leads there. Istio's port.
pub const INBOUND_PORT: u16 = 15006;

/// A pod of this node that is captured.
#[derive(Debug)]
pub struct Pod {
    id: PodId,
    addresses: Vec<IpAddr>,
    netns: Netns,
    gone: CancellationToken,
}

impl Pod {
    /// Namespace and name.
    pub fn id(&self) -> &PodId {
        &self.id
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Cancelled when it is let go, or the agent stops: its tunnels say farewell before its interface goes.
    pub fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

/// A connection that capture hands over.
#[derive(Debug)]
pub struct Captured {
    /// The application's socket (outbound), or the peer's (inbound).
    pub stream: TcpStream,
    /// The pod it belongs to.
    pub pod: Arc<Pod>,
    /// Where it wanted to go.
    pub original: OrigDst,
    /// Where it comes from.
    pub peer: PeerAddr,
}

/// Who takes captured connections. Called on the accepting task: it must not block.
pub trait Accept: Send + Sync + 'static {
    /// From the pod.
    fn outbound(&self, captured: Captured);
    /// To the pod.
    fn inbound(&self, captured: Captured);
    /// A pod is captured from now on, until it is gone.
    fn enrolled(&self, _: &Arc<Pod>) {}
}
