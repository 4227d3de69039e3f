//! Enrolling and letting go: nothing is broken, nothing is left.

use super::agent::{Agent, answer};
use super::client::Client;
use super::counts::Counts;
use super::network::{Network, ip};
use underpass::capture::WhenDown;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_keeps_its_connections_and_new_ones_are_captured() {
    let network = Network::new();
    let (pod, server) = (network.pod(1), network.pod(2));
    let _application = server.echo(server.at(9000));
    let agent = Agent::start(WhenDown::Closed);
    let mut open = Client::start(&pod);
    open.connect(server.at(9000), "").unwrap();
    assert_eq!(open.say("before"), Ok(format!("before from {}", pod.v4)));

    agent.sync(&[&pod, &server]).await;
    assert_eq!(open.say("after"), Ok(format!("after from {}", pod.v4)), "its open connection is left alone");
    assert_eq!(open.peer(), Ok(server.at(9000)));
    let status = agent.capture.pods().await.into_iter().find(|status| status.addresses.contains(&pod.v4)).unwrap();
    assert!(status.captured);
    assert_eq!(status.unmanaged.iter().map(|(_, remote)| *remote).collect::<Vec<_>>(), [server.at(9000)]);

    let mut new = Client::start(&pod);
    new.connect(server.at(9000), "").unwrap();
    let heard = tokio::spawn(answer(agent.outbound().await, "captured"));
    assert_eq!(new.say("new").as_deref(), Ok("captured"));
    assert_eq!(heard.await.unwrap(), "new");

    agent.sync(&[]).await;
    assert_eq!(open.say("let go"), Ok(format!("let go from {}", pod.v4)));
    new.connect(server.at(9000), "").unwrap();
    assert_eq!(new.say("direct"), Ok(format!("direct from {}", pod.v4)), "no longer captured");
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letting_go_leaves_nothing() {
    let network = Network::new();
    let pod = network.pod(1);
    let agent = Agent::start(WhenDown::Closed);
    let settings = || {
        let show = |what: &str| ip(&format!("-n {} {what}", pod.name));
        let routes = (show("-4 route show table all"), show("-6 route show table all"));
        let sysctls = ["tcp_fwmark_accept", "tcp_tw_reuse"].map(|name| pod.read_sysctl(&format!("net/ipv4/{name}")));
        (show("-4 rule"), show("-6 rule"), routes, sysctls)
    };
    let (before, counts) = (settings(), Counts::of(&agent));
    agent.sync(&[&pod]).await;
    assert_ne!(settings(), before, "while it is enrolled");
    let mut client = Client::start(&pod);
    client.connect("192.0.2.1:80".parse().unwrap(), "").unwrap();
    let captured = agent.outbound().await;
    assert_eq!(Counts::of(&agent).flows, 1);
    drop((captured, client));
    agent.sync(&[]).await;
    assert_eq!(settings(), before);
    counts.again(&agent).await;
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pods_come_and_go_and_leak_nothing() {
    let network = Network::new();
    let pods = [network.pod(1), network.pod(2)];
    let agent = Agent::start(WhenDown::Closed);
    let wanted: Vec<_> = pods.iter().collect();
    agent.sync(&wanted).await;
    agent.sync(&[]).await;
    let counts = Counts::of(&agent);
    for round in 0..50 {
        agent.sync(&wanted).await;
        if round % 10 == 0 {
            let mut client = Client::start(&pods[0]);
            client.connect(pods[1].at(80), "").unwrap();
            drop(agent.outbound().await);
        }
        agent.sync(&[]).await;
    }
    counts.again(&agent).await;
    agent.uninstall().await;
}
