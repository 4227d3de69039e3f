//! What the maps hold. No padding anywhere: on the host `zerocopy` checks it, on both sides the sizes are asserted.

use crate::Address;

macro_rules! record {
    ($(#[$doc:meta])* $name:ident: $size:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "user", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);
    };
}

record!(
    /// `PODS`: that a network namespace is captured.
    Enrolled: 4 {
        /// Reserved for per-pod choices; zero.
        flags: u32,
    }
);

record!(
    /// `FLOWS`, key: a captured connection as the agent sees it after `accept`.
    FlowKey: 32 {
        /// Cookie of the pod's network namespace.
        netns: u64,
        /// The client's address on that connection.
        source: Address,
        /// The client's port, host order.
        source_port: u16,
        /// Zero.
        zero: [u16; 3],
    }
);

record!(
    /// `FLOWS`, value: where the client wanted to go.
    Flow: 32 {
        /// The destination before capture.
        original: Address,
        /// The client's socket cookie: tells this connection from a later one with the same source port.
        socket: u64,
        /// The destination's port, host order.
        original_port: u16,
        /// 1 once the agent's side exists; from then on that side removes the entry.
        accepted: u16,
        /// Zero.
        zero: u32,
    }
);

record!(
    /// `TRUSTED`, key: a connection that the agent or the kubelet makes to an application, seen from the accepting
    /// side.
    Tuple: 36 {
        /// The connecting side.
        source: Address,
        /// The application's address.
        destination: Address,
        /// The connecting side's port, host order.
        source_port: u16,
        /// The application's port, host order.
        destination_port: u16,
    }
);

record!(
    /// `TRUSTED`, value.
    Trusted: 8 {
        /// Cookie of the pod's network namespace.
        netns: u64,
    }
);

record!(
    /// `SOCKETS`: what is remembered about one socket for as long as it lives.
    SocketMemory: 32 {
        /// The destination before capture, for an application's socket.
        original: Address,
        /// The client's socket cookie, for a socket that the agent accepted.
        client: u64,
        /// The port before capture, host order.
        original_port: u16,
        /// A [`SocketRole`].
        role: u16,
        /// Zero.
        zero: u32,
    }
);

record!(
    /// `SETTINGS`: what the agent tells the programs.
    Settings: 24 {
        /// The agent's cgroup v2 id.
        agent_cgroup: u64,
        /// The kubelet's cgroup v2 id; 0, which no cgroup has: none is known.
        kubelet_cgroup: u64,
        /// Port of the outbound listener, host order.
        outbound_port: u32,
        /// 1: without an agent, connections go as if there were no mesh; 0: they are refused.
        when_down_open: u32,
    }
);

/// Whose socket it is, as `SocketMemory::role` codes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum SocketRole {
    /// Not captured.
    None = 0,
    /// An application's, sent to the agent.
    Captured = 1,
    /// The agent's, to an application of this pod.
    AgentToApplication = 2,
    /// The agent's, towards another agent or out of the mesh.
    AgentTunnel = 3,
    /// The agent's end of a captured connection.
    Accepted = 4,
    /// The kubelet's, maybe to an application of a pod: a probe.
    Kubelet = 5,
}

impl FlowKey {
    /// The key of the connection that comes from `source`:`source_port` inside the namespace `netns`.
    #[inline(always)]
    pub const fn new(netns: u64, source: Address, source_port: u16) -> Self {
        Self { netns, source, source_port, zero: [0; 3] }
    }
}

impl SocketMemory {
    /// Whether the socket plays this part.
    #[inline(always)]
    pub const fn is(&self, role: SocketRole) -> bool {
        self.role == role as u16
    }
}
