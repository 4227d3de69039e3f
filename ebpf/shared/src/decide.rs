//! What to do with a connection: pure, so that it is tested on the host and only wired up in the kernel.

use crate::limits::TUNNEL_MARK;
use crate::{Address, Settings, SocketRole};

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
/// Multipath TCP starts as TCP; left alone it would be a way around capture.
const IPPROTO_MPTCP: u32 = 262;

/// What a connect hook knows.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Where the process wants to go.
    pub destination: Address,
    /// Its port, host order.
    pub port: u16,
    /// The socket's mark.
    pub mark: u32,
    /// The process's cgroup v2 id. A pod cannot forge it, unlike the mark (CAP_NET_RAW suffices since 5.17).
    pub cgroup: u64,
}

/// What a connect hook does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// Goes as asked, and what was remembered of an earlier attempt is forgotten.
    Leave,
    /// Goes as asked, and what was remembered stays.
    Keep,
    /// Goes as asked and is remembered as the agent's.
    Agent(SocketRole),
    /// Goes to the agent's listener.
    Capture,
}

/// Whether the hook has anything to do with a socket of this type and protocol.
#[inline(always)]
pub const fn is_tcp(socket_type: u32, protocol: u32) -> bool {
    socket_type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
}

/// Whether a process outside of every enrolled pod is the kubelet. By the cgroup that it is in itself: what runs in a
/// cgroup below (a pod, where those are below the kubelet's) is not.
#[inline(always)]
pub const fn is_kubelet(settings: &Settings, cgroup: u64) -> bool {
    settings.kubelet_cgroup != 0 && cgroup == settings.kubelet_cgroup
}

/// Decides a connection out of an enrolled pod.
#[inline(always)]
pub fn connect(settings: &Settings, attempt: &Attempt) -> Connect {
    if attempt.cgroup == settings.agent_cgroup {
        return Connect::Agent(agent_role(attempt.mark));
    }
    // The listener itself: either a second copy of this program, which sees the rewritten destination while
    // the agent is upgraded, or a process that talks to it directly, which has no original on record.
    if is_listener(settings, &attempt.destination, attempt.port) {
        return Connect::Keep;
    }
    if attempt.destination.is_loopback() || attempt.destination.is_unspecified() {
        return Connect::Leave;
    }
    Connect::Capture
}

#[inline(always)]
fn agent_role(mark: u32) -> SocketRole {
    if mark == TUNNEL_MARK { SocketRole::AgentTunnel } else { SocketRole::AgentToApplication }
}

/// Whether an end of a connection is the agent's outbound listener.
#[inline(always)]
pub fn is_listener(settings: &Settings, address: &Address, port: u16) -> bool {
    u32::from(port) == settings.outbound_port && address.words == address.loopback_of_family().words
}

/// What the lookup hook does with a new inbound connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// To whoever listens there.
    Pass,
    /// To the agent, if it has a listener for that address.
    Agent,
}

/// Decides a new inbound connection: `trusted` says that the agent made it.
#[inline(always)]
pub fn inbound(protocol: u32, local: &Address, trusted: bool) -> Inbound {
    if protocol != IPPROTO_TCP || local.is_loopback() || trusted {
        return Inbound::Pass;
    }
    Inbound::Agent
}

/// Whether an inbound connection passes although no agent listens for its address.
#[inline(always)]
pub const fn passes_without_agent(settings: &Settings) -> bool {
    settings.when_down_open != 0
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    const SETTINGS: Settings =
        Settings { agent_cgroup: 7, kubelet_cgroup: 9, outbound_port: 15_001, when_down_open: 0 };

    fn attempt(destination: &str, port: u16) -> Attempt {
        let destination = Address::from(destination.parse::<IpAddr>().unwrap());
        Attempt { destination, port, mark: 0, cgroup: 1 }
    }

    #[test]
    fn an_application_is_captured() {
        for destination in ["10.0.0.1", "fd00::1", "169.254.169.254"] {
            assert_eq!(connect(&SETTINGS, &attempt(destination, 80)), Connect::Capture, "{destination}");
        }
    }

    #[test]
    fn what_stays_in_the_pod_is_left_alone() {
        for destination in ["127.0.0.1", "127.1.1.1", "::1", "0.0.0.0", "::"] {
            assert_eq!(connect(&SETTINGS, &attempt(destination, 80)), Connect::Leave, "{destination}");
        }
    }

    #[test]
    fn a_second_copy_of_the_program_does_not_undo_the_first() {
        for destination in ["127.0.0.1", "::1"] {
            assert_eq!(connect(&SETTINGS, &attempt(destination, 15_001)), Connect::Keep, "{destination}");
        }
        assert_eq!(connect(&SETTINGS, &attempt("127.0.0.2", 15_001)), Connect::Leave);
    }

    #[test]
    fn the_agent_is_known_by_its_cgroup_and_only_then_by_its_mark() {
        let mut agent = attempt("10.0.0.1", 80);
        agent.cgroup = 7;
        assert_eq!(connect(&SETTINGS, &agent), Connect::Agent(SocketRole::AgentToApplication));
        agent.mark = TUNNEL_MARK;
        assert_eq!(connect(&SETTINGS, &agent), Connect::Agent(SocketRole::AgentTunnel));
        let forged = Attempt { mark: TUNNEL_MARK, ..attempt("10.0.0.1", 80) };
        assert_eq!(connect(&SETTINGS, &forged), Connect::Capture);
    }

    #[test]
    fn the_kubelet_is_known_by_its_cgroup_and_nobody_is_while_it_is_unknown() {
        assert!(is_kubelet(&SETTINGS, 9));
        assert!(!is_kubelet(&SETTINGS, 7));
        assert!(!is_kubelet(&Settings { kubelet_cgroup: 0, ..SETTINGS }, 0));
    }

    #[test]
    fn every_tcp_counts_and_nothing_else() {
        assert!(is_tcp(1, 6));
        assert!(is_tcp(1, 262));
        assert!(!is_tcp(2, 17));
        assert!(!is_tcp(1, 132));
    }

    #[test]
    fn inbound_goes_to_the_agent_unless_it_came_from_there() {
        let pod = Address::from("10.0.0.9".parse::<IpAddr>().unwrap());
        let loopback = Address::from("127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(inbound(6, &pod, false), Inbound::Agent);
        assert_eq!(inbound(6, &pod, true), Inbound::Pass);
        assert_eq!(inbound(6, &loopback, false), Inbound::Pass);
        assert_eq!(inbound(17, &pod, false), Inbound::Pass);
    }
}
