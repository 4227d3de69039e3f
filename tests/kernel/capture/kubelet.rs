//! The kubelet's probes: they reach the application, and nobody else of the node does.

use super::agent::{Agent, answer, config};
use super::client::Client;
use super::counts::Counts;
use super::network::{Network, TestPod};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use underpass::capture::WhenDown;
use underpass_tests::clean::cgroup_root;

/// A service's cgroup.
struct Slice {
    name: String,
    path: PathBuf,
}

impl Slice {
    fn new(name: &str) -> Self {
        let name = format!("t-kernel-{}-{name}", std::process::id());
        let path = cgroup_root().expect("cgroup v2 is mounted").join(&name);
        fs::create_dir_all(&path).unwrap();
        Self { name, path }
    }

    /// A process of this service, in the network namespace of `outside`.
    fn client(&self, outside: &TestPod) -> Client {
        let mut client = Client::start(outside);
        // It leaves for the root first, as every application of a test does.
        client.ready();
        fs::write(self.path.join("cgroup.procs"), client.pid().to_string()).unwrap();
        client
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // A cgroup is busy for a moment after its last process.
        let _ = (0..100).find(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            fs::remove_dir(&self.path).is_ok() || !self.path.exists()
        });
    }
}

fn agent_for(kubelet: &str, when_down: WhenDown) -> Agent {
    Agent::with(underpass::capture::Config { kubelet: Some(kubelet.parse().unwrap()), ..config(when_down) })
}

fn probe(client: &mut Client, to: SocketAddr) -> Result<String, i32> {
    client.connect(to, "")?;
    client.say("probe")
}

/// That this one comes to the agent.
async fn is_captured(agent: &Agent, client: &mut Client, to: SocketAddr) {
    client.connect(to, "").unwrap();
    let heard = tokio::spawn(answer(agent.inbound().await, "the agent"));
    assert_eq!(client.say("probe").as_deref(), Ok("the agent"));
    assert_eq!(heard.await.unwrap(), "probe");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubelet_reaches_the_application_and_no_other_process_of_the_node_does() {
    let network = Network::new();
    let (node, pod) = (network.pod(1), network.pod(2));
    let kubelet = Slice::new("kubelet");
    let agent = agent_for(&kubelet.name, WhenDown::Closed);
    let _application = (pod.echo(pod.at(9000)), pod.echo(pod.at6(9000)));
    agent.sync(&[&pod]).await;
    let before = Counts::of(&agent);
    let mut client = kubelet.client(&node);
    let below = Slice::new("kubelet/pods");
    let (mut other, mut child) = (Client::start(&node), below.client(&node));
    for (to, from) in [(pod.at(9000), node.v4), (pod.at6(9000), node.v6)] {
        assert_eq!(probe(&mut client, to), Ok(format!("probe from {from}")));
        assert!(agent.captured_nothing().await, "a probe is none of the agent's business");
        is_captured(&agent, &mut other, to).await;
        is_captured(&agent, &mut child, to).await;
        // The same program, in the same namespace, with a socket of its own after the probe.
        assert_eq!(probe(&mut client, to), Ok(format!("probe from {from}")));
    }
    drop((client, other, child));
    before.again(&agent).await;
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_was_started_again_is_known_again_and_nobody_is_in_between() {
    let network = Network::new();
    let (node, pod) = (network.pod(1), network.pod(2));
    let agent = agent_for(&format!("t-kernel-{}-again", std::process::id()), WhenDown::Closed);
    let _application = pod.echo(pod.at(9000));
    agent.sync(&[&pod]).await;
    for _ in 0..2 {
        assert!(!agent.capture.follow_kubelet(), "there is none");
        is_captured(&agent, &mut Client::start(&node), pod.at(9000)).await;
        let kubelet = Slice::new("again");
        assert!(agent.capture.follow_kubelet());
        assert_eq!(probe(&mut kubelet.client(&node), pod.at(9000)), Ok(format!("probe from {}", node.v4)));
    }
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_probes_say_how_the_application_is() {
    let network = Network::new();
    let (node, pod) = (network.pod(1), network.pod(2));
    let kubelet = Slice::new("down");
    let agent = agent_for(&kubelet.name, WhenDown::Closed);
    let _application = pod.echo(pod.at(9000));
    agent.sync(&[&pod]).await;
    let (mut client, mut other) = (kubelet.client(&node), Client::start(&node));
    let left = agent.stop().await;
    assert_eq!(probe(&mut client, pod.at(9000)), Ok(format!("probe from {}", node.v4)));
    assert!(other.connect(pod.at(9000), "").is_err(), "closed to everybody else");
    Agent::with(left).uninstall().await;
}
