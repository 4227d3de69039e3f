//! What a pod's connections meet: led to the agent, told the truth about their peer.

use super::agent::{Agent, answer};
use super::client::Client;
use super::network::Network;
use std::net::SocketAddr;
use underpass::capture::WhenDown;

/// Connects, expects the agent to see the destination and the application to see it as its peer.
async fn is_led(agent: &Agent, client: &mut Client, to: SocketAddr, options: &str) {
    let peer = client.connect(to, options).unwrap_or_else(|errno| panic!("{to} {options}: errno {errno}"));
    assert_eq!(SocketAddr::new(peer.ip().to_canonical(), peer.port()), to, "getpeername tells the truth");
    let captured = agent.outbound().await;
    assert_eq!(captured.original.socket(), to, "{options}");
    let heard = tokio::spawn(answer(captured, "from the agent"));
    assert_eq!(client.say("from the application").as_deref(), Ok("from the agent"));
    assert_eq!(heard.await.unwrap(), "from the application");
    assert_eq!(client.peer().unwrap(), peer, "for the socket's whole life");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_led_to_the_agent_with_its_destination() {
    let network = Network::new();
    let (pod, other) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let mut client = Client::start(&pod);
    is_led(&agent, &mut client, other.at(80), "").await;
    is_led(&agent, &mut client, other.at6(80), "").await;
    is_led(&agent, &mut client, other.at(8080), "mapped").await;
    is_led(&agent, &mut client, "192.0.2.1:443".parse().unwrap(), "").await;
    is_led(&agent, &mut client, pod.at(80), "").await;
    is_led(&agent, &mut client, other.at(80), &format!("bind={}", pod.v4)).await;
    is_led(&agent, &mut client, other.at6(80), &format!("bind={}", pod.v6)).await;
    is_led(&agent, &mut client, other.at(80), "mark=1338").await;
    agent.uninstall().await;
}
