//! Connections out of a pod.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use socket2::Domain;

use crate::pod::{
    FAR_V4, FAR_V6, NOBODY, Pod, accept, connect, connect_with, is_idle, listen, nothing_left, own_cgroup, to,
};

fn arrives(listener: &str, domain: Domain, destination: SocketAddr, asked: SocketAddr) {
    let pod = Pod::new();
    let programs = pod.captured();
    let agent = listen(&pod.inside, listener, 15_001);
    let application = connect_with(&pod.inside, domain, destination, |_| Ok(())).unwrap();
    let (accepted, peer) = accept(&agent);
    assert_eq!(programs.original(pod.inside.cookie(), peer), Some(asked));
    assert_eq!(programs.original(pod.inside.cookie() + 1, peer), None, "another pod's flow");
    assert_eq!(application.peer_addr().unwrap(), destination, "getpeername tells the truth");
    assert_eq!(programs.counts().flows, 1);
    drop((application, accepted));
    nothing_left(&programs);
}

#[test]
fn ipv4_goes_to_the_agent_which_learns_the_destination() {
    arrives("127.0.0.1", Domain::IPV4, to(FAR_V4, 9_999), to(FAR_V4, 9_999));
}

#[test]
fn ipv6_goes_to_the_agent_which_learns_the_destination() {
    arrives("::1", Domain::IPV6, to(FAR_V6, 9_999), to(FAR_V6, 9_999));
}

#[test]
fn ipv4_from_an_ipv6_socket_goes_to_the_agent_as_ipv4() {
    let mapped = to(&format!("::ffff:{FAR_V4}"), 9_999);
    arrives("127.0.0.1", Domain::IPV6, mapped, to(FAR_V4, 9_999));
}

#[test]
fn a_client_that_writes_and_leaves_is_still_known_when_the_agent_comes_to_it() {
    let pod = Pod::new();
    let programs = pod.captured();
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let mut application = connect(&pod.inside, FAR_V4, 9_999).unwrap();
    application.write_all(b"log line").unwrap();
    drop(application);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (mut accepted, peer) = accept(&agent);
    assert_eq!(programs.original(pod.inside.cookie(), peer), Some(to(FAR_V4, 9_999)));
    accepted.set_nonblocking(false).unwrap();
    let mut said = String::new();
    accepted.read_to_string(&mut said).unwrap();
    assert_eq!(said, "log line");
    drop(accepted);
    nothing_left(&programs);
}

#[test]
fn without_an_agent_a_connection_is_refused_and_nothing_leaks() {
    let pod = Pod::new();
    let programs = pod.captured();
    let server = listen(&pod.far, FAR_V4, 8_080);
    for _ in 0..10 {
        let error = connect(&pod.inside, FAR_V4, 8_080).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    assert!(is_idle(&server));
    nothing_left(&programs);
}

#[test]
fn without_an_agent_and_open_a_connection_goes_as_if_there_were_no_mesh() {
    let pod = Pod::new();
    let programs = pod.load(NOBODY, true);
    programs.enrol(pod.inside.cookie()).unwrap();
    for address in [FAR_V4, FAR_V6] {
        let server = listen(&pod.far, address, 8_080);
        let application = connect(&pod.inside, address, 8_080).unwrap();
        accept(&server);
        drop(application);
        let loopback = if address == FAR_V4 { "127.0.0.1" } else { "::1" };
        let agent = listen(&pod.inside, loopback, 15_001);
        connect(&pod.inside, address, 8_080).unwrap();
        accept(&agent);
        assert!(is_idle(&server), "with an agent it is captured again");
    }
}

#[test]
fn the_agent_s_own_connections_are_left_alone() {
    let pod = Pod::new();
    let programs = pod.load(own_cgroup(), false);
    programs.enrol(pod.inside.cookie()).unwrap();
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let server = listen(&pod.far, FAR_V4, 8_080);
    let tunnel = connect(&pod.inside, FAR_V4, 8_080).unwrap();
    accept(&server);
    assert!(is_idle(&agent));
    drop(tunnel);
    nothing_left(&programs);
}

#[test]
fn what_is_not_enrolled_is_left_alone() {
    let pod = Pod::new();
    let programs = pod.captured();
    programs.withdraw(pod.inside.cookie());
    let server = listen(&pod.far, FAR_V4, 8_080);
    connect(&pod.inside, FAR_V4, 8_080).unwrap();
    accept(&server);
    assert_eq!(programs.counts().flows, 0);
}

#[test]
fn loopback_is_left_alone() {
    let pod = Pod::new();
    let programs = pod.captured();
    let server = listen(&pod.inside, "127.0.0.1", 8_080);
    connect(&pod.inside, "127.0.0.1", 8_080).unwrap();
    let (_, peer) = accept(&server);
    connect(&pod.inside, "0.0.0.0", 8_080).unwrap();
    accept(&server);
    assert_eq!(programs.original(pod.inside.cookie(), peer), None);
}

#[test]
fn who_talks_to_the_agent_s_port_directly_has_no_destination_on_record() {
    let pod = Pod::new();
    let programs = pod.captured();
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let direct = connect(&pod.inside, "127.0.0.1", 15_001).unwrap();
    let (_, peer) = accept(&agent);
    assert_eq!(programs.original(pod.inside.cookie(), peer), None);
    assert_eq!(direct.peer_addr().unwrap(), to("127.0.0.1", 15_001));
}

#[test]
fn a_socket_bound_to_the_pod_s_interface_is_captured_too() {
    let pod = Pod::new();
    let programs = pod.captured();
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let bound = connect_with(&pod.inside, Domain::IPV4, to(FAR_V4, 9_999), |socket| socket.bind_device(Some(b"eth0")));
    let _application: TcpStream = bound.unwrap();
    let (_, peer) = accept(&agent);
    assert_eq!(programs.original(pod.inside.cookie(), peer), Some(to(FAR_V4, 9_999)));
}

#[test]
fn a_socket_that_may_not_be_unbound_from_its_interface_is_refused() {
    let pod = Pod::new();
    let _programs = pod.captured();
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let server = listen(&pod.far, FAR_V4, 8_080);
    let status = pod.inside.within(|| {
        let nobody = ["--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
        let curl = ["curl", "-sS", "--max-time", "2", "--interface", "if!eth0", "http://10.77.0.1:8080/"];
        Command::new("setpriv").args(nobody).args(curl).status()
    });
    assert!(!status.unwrap().success());
    assert!(is_idle(&agent) && is_idle(&server));
}

#[test]
fn two_agents_on_one_kernel_keep_to_their_own_pods() {
    let (one, two) = (Pod::new(), Pod::new());
    let (first, second) = (one.captured(), two.captured());
    for (pod, mine, other) in [(&one, &first, &second), (&two, &second, &first)] {
        let agent = listen(&pod.inside, "127.0.0.1", 15_001);
        let _application = connect(&pod.inside, FAR_V4, 9_999).unwrap();
        let (_, peer) = accept(&agent);
        assert_eq!(mine.original(pod.inside.cookie(), peer), Some(to(FAR_V4, 9_999)));
        assert_eq!(other.original(pod.inside.cookie(), peer), None);
    }
}
