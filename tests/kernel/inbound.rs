//! Connections into a pod.

use std::io::ErrorKind;
use std::net::TcpListener;

use socket2::Domain;
use underpass::capture::Programs;

use crate::pod::{
    FAR_V4, NOBODY, POD_V4, POD_V6, Pod, accept, connect, connect_with, ip, is_idle, listen, nothing_left, own_cgroup,
    to, until,
};

/// What `TUNNEL_MARK` is on the wire of the contract: a changed number must be noticed.
const TUNNEL_MARK: u32 = 0x53a;

fn attach(pod: &Pod, programs: &Programs, loopback: &str, address: &str) -> TcpListener {
    let agent = listen(&pod.inside, loopback, 15_006);
    programs.set_inbound(ip(address), &agent).unwrap();
    programs.attach_lookup(&pod.inside, pod.inside.cookie()).unwrap();
    agent
}

fn arrives(loopback: &str, address: &str) {
    let pod = Pod::new();
    let programs = pod.captured();
    let agent = attach(&pod, &programs, loopback, address);
    let application = listen(&pod.inside, address, 8_080);
    let client = connect(&pod.far, address, 8_080).unwrap();
    let (accepted, peer) = accept(&agent);
    assert_eq!(accepted.local_addr().unwrap(), to(address, 8_080), "the original destination");
    assert_eq!(peer, client.local_addr().unwrap());
    connect(&pod.far, address, 8_081).unwrap();
    assert_eq!(accept(&agent).0.local_addr().unwrap(), to(address, 8_081), "ports nobody listens on too");
    assert!(is_idle(&application));
}

#[test]
fn ipv4_reaches_the_agent() {
    arrives("127.0.0.1", POD_V4);
}

#[test]
fn ipv6_reaches_the_agent() {
    arrives("::1", POD_V6);
}

#[test]
fn only_the_agent_reaches_the_application_and_only_without_the_tunnel_mark() {
    for (loopback, address, domain) in [("127.0.0.1", POD_V4, Domain::IPV4), ("::1", POD_V6, Domain::IPV6)] {
        let pod = Pod::new();
        let programs = pod.load(own_cgroup(), false);
        programs.enrol(pod.inside.cookie()).unwrap();
        let agent = attach(&pod, &programs, loopback, address);
        let application = listen(&pod.inside, address, 8_080);

        let trusted = connect(&pod.inside, address, 8_080).unwrap();
        assert_eq!(programs.counts().trusted, 1);
        let (accepted, peer) = accept(&application);
        assert_eq!(peer, trusted.local_addr().unwrap());
        drop((trusted, accepted));
        nothing_left(&programs);

        let marked = |socket: &socket2::Socket| socket.set_mark(TUNNEL_MARK);
        let _tunnel = connect_with(&pod.inside, domain, to(address, 8_080), marked).unwrap();
        accept(&agent);
        assert!(is_idle(&application));
    }
}

#[test]
fn trust_ends_when_the_application_begins_to_close() {
    let pod = Pod::new();
    let programs = pod.load(own_cgroup(), false);
    programs.enrol(pod.inside.cookie()).unwrap();
    let _agent = attach(&pod, &programs, "127.0.0.1", POD_V4);
    let application = listen(&pod.inside, POD_V4, 8_080);
    let _trusted = connect(&pod.inside, POD_V4, 8_080).unwrap();
    drop(accept(&application));
    nothing_left(&programs);
}

#[test]
fn without_an_agent_inbound_is_refused_or_passes_as_chosen() {
    for open in [false, true] {
        let pod = Pod::new();
        let programs = pod.load(NOBODY, open);
        programs.enrol(pod.inside.cookie()).unwrap();
        let agent = attach(&pod, &programs, "127.0.0.1", POD_V4);
        drop(agent);
        let application = listen(&pod.inside, POD_V4, 8_080);
        let client = connect(&pod.far, POD_V4, 8_080);
        if open {
            client.unwrap();
            accept(&application);
        } else {
            assert_eq!(client.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    }
}

#[test]
fn a_pod_that_is_let_go_accepts_for_itself() {
    let pod = Pod::new();
    let programs = pod.captured();
    let _agent = attach(&pod, &programs, "127.0.0.1", POD_V4);
    let application = listen(&pod.inside, POD_V4, 8_080);
    programs.detach_lookup(pod.inside.cookie());
    programs.clear_inbound(ip(POD_V4));
    // The kernel detaches after a grace period of its own.
    until("the pod is on its own", || connect(&pod.far, POD_V4, 8_080).is_ok());
    accept(&application);
    assert!(programs.pinned_netns().is_empty());
}

#[test]
fn loopback_inside_the_pod_is_left_alone() {
    let pod = Pod::new();
    let programs = pod.captured();
    let _agent = attach(&pod, &programs, "127.0.0.1", POD_V4);
    let application = listen(&pod.inside, "127.0.0.1", 8_080);
    connect(&pod.inside, "127.0.0.1", 8_080).unwrap();
    accept(&application);
    // Nor does a far client reach the agent's outbound listener.
    let _outbound = listen(&pod.inside, "127.0.0.1", 15_001);
    assert!(connect(&pod.far, FAR_V4, 15_001).is_err());
}
