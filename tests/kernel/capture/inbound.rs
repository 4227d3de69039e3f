//! What comes to a pod: led to the agent, or straight to the application when the agent says so.

use super::agent::{Agent, answer};
use super::client::Client;
use super::network::{Network, TestPod};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use underpass::capture::{Pod, SocketIntent, WhenDown, connect};

/// Says a line on a connection of the agent's, hears the application's.
async fn say(stream: TcpStream, line: &str) -> String {
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    answer.trim_end().to_owned()
}

/// The agent's view of a captured pod, by way of a connection from it.
async fn pod_of(agent: &Agent, pod: &TestPod) -> Arc<Pod> {
    let mut client = Client::start(pod);
    client.connect("192.0.2.1:1".parse().unwrap(), "").unwrap();
    agent.outbound().await.pod
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_pod_come_to_the_agent_in_every_family() {
    let network = Network::new();
    let (outside, pod) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    let _application = pod.echo(pod.at(9000));
    agent.sync(&[&pod]).await;
    let mut client = Client::start(&outside);
    for (to, from) in [(pod.at(9000), outside.v4), (pod.at6(9000), outside.v6), (pod.at(15008), outside.v4)] {
        assert_eq!(client.connect(to, ""), Ok(to));
        let captured = agent.inbound().await;
        assert_eq!((captured.original.socket(), captured.peer.ip()), (to, from));
        let heard = tokio::spawn(answer(captured, "the agent"));
        assert_eq!(client.say("hello").as_deref(), Ok("the agent"));
        assert_eq!(heard.await.unwrap(), "hello");
    }
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_reaches_the_application_or_the_pods_own_capture_as_it_says() {
    let network = Network::new();
    let (near, far) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&near, &far]).await;
    let _application = (far.echo(far.at(9000)), far.echo(far.at6(9000)));
    let from = pod_of(&agent, &near).await;
    for (to, source) in [(far.at(9000), near.v4), (far.at6(9000), near.v6)] {
        let stream = connect(&from, SocketIntent::Application, None, to).await.unwrap();
        assert_eq!(say(stream, "straight").await, format!("straight from {source}"));
        assert!(agent.captured_nothing().await, "neither leaving the one pod nor entering the other");

        let stream = connect(&from, SocketIntent::Tunnel, None, to).await.unwrap();
        let captured = agent.inbound().await;
        assert_eq!((captured.original.socket(), captured.peer.ip()), (to, source));
        let heard = tokio::spawn(answer(captured, "the far agent"));
        assert_eq!(say(stream, "tunnel").await, "the far agent");
        assert_eq!(heard.await.unwrap(), "tunnel");
    }
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_sees_the_clients_address() {
    let network = Network::new();
    let (outside, pod) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let _application = (pod.echo(pod.at(9000)), pod.echo(pod.at6(9000)));
    let mut client = Client::start(&outside);
    // Strict reverse path filtering asks whether a packet's source is reached where it came from.
    for filter in ["0", "1", "2"] {
        pod.sysctl("net/ipv4/conf/all/rp_filter", filter);
        pod.sysctl("net/ipv4/conf/lo/rp_filter", filter);
        for to in [pod.at(9000), pod.at6(9000)] {
            client.connect(to, "").unwrap();
            let captured = agent.inbound().await;
            let source = captured.peer.ip();
            let delivered = connect(&captured.pod, SocketIntent::Application, Some(source), to).await;
            let stream = delivered.unwrap_or_else(|error| panic!("rp_filter={filter} {to}: {error}"));
            assert_eq!(say(stream, "kept").await, format!("kept from {source}"));
        }
    }
    let v4 = SocketAddr::new("198.51.100.7".parse().unwrap(), 0);
    let captured = {
        client.connect(pod.at(9000), "").unwrap();
        agent.inbound().await
    };
    let stream = connect(&captured.pod, SocketIntent::Application, Some(v4.ip()), pod.at(9000)).await.unwrap();
    assert_eq!(say(stream, "any").await, "any from 198.51.100.7", "also one that the pod has no route of its own to");
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_never_takes_a_port_on_which_the_client_is_connected() {
    let network = Network::new();
    let (outside, pod) = (network.pod(1), network.pod(2));
    // So few that with a port of the same range a delivery would meet one of the client's connections.
    for netns in [&outside, &pod] {
        netns.sysctl("net/ipv4/ip_local_port_range", "40000 40015");
    }
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let _application = pod.echo(pod.at(9000));
    let mut clients: Vec<_> = (0..6).map(|_| Client::start(&outside)).collect();
    let mut open = Vec::new();
    for client in &mut clients {
        client.connect(pod.at(9000), "").unwrap();
        open.push(agent.inbound().await);
    }
    for round in 0..20 {
        let source = Some(open[0].peer.ip());
        let delivered = connect(&open[0].pod, SocketIntent::Application, source, pod.at(9000));
        let delivered = tokio::time::timeout(Duration::from_millis(500), delivered).await;
        let stream = delivered.unwrap_or_else(|_| panic!("delivery {round} met a connection of the client")).unwrap();
        assert_eq!(say(stream, "delivered").await, format!("delivered from {}", outside.v4));
    }
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_passes_over_a_port_that_the_pod_listens_on() {
    let network = Network::new();
    let (outside, pod) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let _application = pod.echo(pod.at(9000));
    let mut client = Client::start(&outside);
    client.connect(pod.at(9000), "").unwrap();
    let captured = agent.inbound().await;
    let source = Some(captured.peer.ip());
    // More than there are ports: each is taken once, 9000 among them.
    for round in 0..32_000 {
        let delivered = connect(&captured.pod, SocketIntent::Application, source, pod.at(9000)).await;
        let stream = delivered.unwrap_or_else(|error| panic!("delivery {round}: {error}"));
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_enrolled_is_left_alone() {
    let network = Network::new();
    let (enrolled, one, other) = (network.pod(1), network.pod(2), network.pod(3));
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&enrolled]).await;
    let _application = (other.echo(other.at(9000)), other.echo(other.at6(9000)));
    let mut client = Client::start(&one);
    assert_eq!(client.connect(other.at(9000), ""), Ok(other.at(9000)));
    assert_eq!(client.say("direct"), Ok(format!("direct from {}", one.v4)));
    assert_eq!(client.connect(other.at6(9000), ""), Ok(other.at6(9000)));
    assert_eq!(client.say("direct"), Ok(format!("direct from {}", one.v6)));
    assert!(agent.captured_nothing().await);
    agent.uninstall().await;
}
