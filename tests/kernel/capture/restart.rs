//! Capture outlives its agent; the next one takes over. Several agents on one kernel do not meet.

use super::agent::{Agent, answer, config, wanted};
use super::client::Client;
use super::counts::Counts;
use super::network::{Network, ip};
use crate::pod::until;
use underpass::capture::WhenDown;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_takes_over_what_the_old_one_left() {
    let network = Network::new();
    let (stays, goes) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&stays, &goes]).await;
    let mut client = Client::start(&stays);
    client.connect("192.0.2.1:80".parse().unwrap(), "").unwrap();
    let open = agent.outbound().await;
    let before = Counts::of(&agent);
    let config = agent.stop().await;
    drop(goes);

    let agent = Agent::with(config);
    assert_eq!(client.peer(), Ok("192.0.2.1:80".parse().unwrap()), "sockets of before are remembered");
    agent.sync(&[&stays]).await;
    let now = Counts::of(&agent);
    assert_eq!(
        (now.pins, now.pods, now.flows),
        (before.pins - 1, 1, before.flows),
        "the pod that is gone is forgotten"
    );
    client.connect("192.0.2.1:81".parse().unwrap(), "").unwrap();
    let heard = tokio::spawn(answer(agent.outbound().await, "the new agent"));
    assert_eq!(client.say("who").as_deref(), Ok("the new agent"));
    heard.await.unwrap();
    drop(open);
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_replace_each_other_without_a_gap() {
    let network = Network::new();
    let pod = network.pod(1);
    let mut agent = Agent::start(WhenDown::Closed);
    let _application = network.pod(2).echo("0.0.0.0:9000".parse().unwrap());
    agent.sync(&[&pod]).await;
    let counts = Counts::of(&agent);
    for _ in 0..3 {
        agent = Agent::with(agent.stop().await);
        agent.sync(&[&pod]).await;
        counts.again(&agent).await;
    }
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_no_longer_wanted_after_a_restart_is_let_go_entirely() {
    let network = Network::new();
    let (pod, other) = (network.pod(1), network.pod(2));
    let _application = other.echo(other.at(9000));
    let rules = || ip(&format!("-n {} rule", pod.name));
    let before = rules();
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    assert_ne!(rules(), before);
    let agent = Agent::with(agent.stop().await);
    agent.sync(&[]).await;
    assert_eq!((rules(), pod.read_sysctl("net/ipv4/tcp_fwmark_accept").trim()), (before, "0"));
    let mut client = Client::start(&pod);
    client.connect(other.at(9000), "").unwrap();
    assert_eq!(client.say("direct"), Ok(format!("direct from {}", pod.v4)));
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wanted_pod_stays_captured_while_its_ports_are_taken() {
    let network = Network::new();
    let (pod, other) = (network.pod(1), network.pod(2));
    let _application = other.echo(other.at(9000));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let config = agent.stop().await;
    // The stopped agent's own listener takes a moment to close.
    let mut draining = None;
    until("the port is free", || {
        draining = pod.netns.within(|| std::net::TcpListener::bind("127.0.0.1:15001")).ok();
        draining.is_some()
    });
    let agent = Agent::with(config);
    assert_eq!(agent.capture.sync(&[wanted(&pod)]).await, 1, "it waits");
    let status = agent.capture.pods().await.remove(0);
    assert!(status.reason.is_some_and(|reason| reason.contains("127.0.0.1:15001")), "the port is named");
    assert_eq!(Counts::of(&agent).pods, 1, "its connections do not go round the mesh");
    drop(draining);
    agent.sync(&[&pod]).await;
    let mut client = Client::start(&pod);
    client.connect(other.at(9000), "").unwrap();
    agent.outbound().await;
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_one_agent_leaves_another_agents_pods_alone() {
    let network = Network::new();
    let (one, two) = (network.pod(1), network.pod(2));
    let first = Agent::start(WhenDown::Closed);
    let mut shared = config(WhenDown::Closed);
    shared.cgroup.clone_from(&first.config.cgroup);
    let second = Agent::with(shared);
    first.sync(&[&one]).await;
    second.sync(&[&two]).await;
    let rules = ip(&format!("-n {} rule", two.name));
    first.uninstall().await;
    assert_eq!(ip(&format!("-n {} rule", two.name)), rules);
    assert_eq!(two.read_sysctl("net/ipv4/tcp_fwmark_accept").trim(), "1");
    second.uninstall().await;
    assert_ne!(ip(&format!("-n {} rule", two.name)), rules);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_on_one_kernel_capture_each_its_own() {
    let network = Network::new();
    let (one, two) = (network.pod(1), network.pod(2));
    let first = Agent::start(WhenDown::Closed);
    // One process has one cgroup: the second agent of this test shares the first one's.
    let mut shared = config(WhenDown::Closed);
    shared.cgroup.clone_from(&first.config.cgroup);
    let second = Agent::with(shared);
    first.sync(&[&one]).await;
    second.sync(&[&two]).await;
    for (agent, other, pod) in [(&first, &second, &one), (&second, &first, &two)] {
        let mut client = Client::start(pod);
        for to in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            client.connect(to.parse().unwrap(), "").unwrap();
            assert_eq!(agent.outbound().await.original.to_string(), to);
            assert!(other.captured_nothing().await);
            assert_eq!(client.peer(), Ok(to.parse().unwrap()));
        }
    }
    let config = second.stop().await;
    std::fs::remove_dir_all(&config.pin_dir).unwrap();
    first.uninstall().await;
}
