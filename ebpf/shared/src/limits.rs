//! Names, capacities and numbers that both sides must agree on.

/// Raised whenever a map's key or value changes shape; maps of another layout are never reused.
pub const LAYOUT: u32 = 2;

/// Names of the maps, as they are pinned.
pub mod maps {
    /// Network namespace cookie -> [`crate::Enrolled`].
    pub const PODS: &str = "PODS";
    /// [`crate::FlowKey`] -> [`crate::Flow`].
    pub const FLOWS: &str = "FLOWS";
    /// [`crate::Tuple`] -> [`crate::Trusted`].
    pub const TRUSTED: &str = "TRUSTED";
    /// Local address -> the agent's inbound listener for it.
    pub const INBOUND: &str = "INBOUND";
    /// Socket -> [`crate::SocketMemory`].
    pub const SOCKETS: &str = "SOCKETS";
    /// One [`crate::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// All of them.
    pub const ALL: [&str; 6] = [PODS, FLOWS, TRUSTED, INBOUND, SOCKETS, SETTINGS];
}

/// Enrolled pods of one node; the kubelet's usual ceiling is 110, the largest documented one 500.
pub const PODS: u32 = 4_096;
/// Captured connections of one node whose client is still open.
pub const FLOWS: u32 = 262_144;
/// Connections of the agent and the kubelet to applications that are being set up or open.
pub const TRUSTED: u32 = 262_144;
/// Addresses of enrolled pods: two families for each pod.
pub const INBOUND: u32 = 2 * PODS;

/// The agent's outbound listener in every pod, on 127.0.0.1 and on `::1`.
pub const OUTBOUND_PORT: u16 = 15_001;
/// The mark by which the agent says that its own connection is a tunnel, so the far end must still capture it.
pub const TUNNEL_MARK: u32 = 0x53a;
