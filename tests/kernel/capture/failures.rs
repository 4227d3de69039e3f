//! What is refused, and what happens while no agent runs.

use super::agent::Agent;
use super::client::Client;
use super::network::Network;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use underpass::capture::{Capture, WhenDown};

const EPERM: i32 = 1;
const ECONNRESET: i32 = 104;
const ECONNREFUSED: i32 = 111;

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_dials_the_agents_port_is_reset() {
    let network = Network::new();
    let pod = network.pod(1);
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let mut client = Client::start(&pod);
    for to in ["127.0.0.1:15001", "[::1]:15001"] {
        // The reset comes at once: it may meet connect(2) already.
        let talked = client.connect(to.parse().unwrap(), "").and_then(|_| client.say("let me in"));
        assert_eq!(talked, Err(ECONNRESET), "{to}");
    }
    assert!(agent.captured_nothing().await);
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_bound_to_a_device_is_captured_or_refused() {
    let network = Network::new();
    let (pod, other) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    let _application = other.echo(other.at(80));
    agent.sync(&[&pod]).await;
    let mut client = Client::start(&pod);
    for to in [other.at(80), other.at6(80)] {
        assert_eq!(client.connect(to, "device=eth0"), Ok(to));
        assert_eq!(agent.outbound().await.original.socket(), to);
        // Without CAP_NET_RAW the kernel does not let a socket be un-bound: it must not bypass the mesh instead.
        assert_eq!(client.connect(to, "device=eth0 uid=65534"), Err(EPERM));
    }
    assert!(agent.captured_nothing().await);
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_closed_refuses() {
    let network = Network::new();
    let (pod, other) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Closed);
    let _application = (pod.echo(pod.at(9000)), other.echo(other.at(9000)));
    agent.sync(&[&pod]).await;
    let config = agent.stop().await;
    let (mut inside, mut outside) = (Client::start(&pod), Client::start(&other));
    assert_eq!(inside.connect(other.at(9000), ""), Err(ECONNREFUSED), "out of the pod");
    assert_eq!(inside.connect(other.at6(9000), ""), Err(ECONNREFUSED), "out of the pod");
    assert_eq!(outside.connect(pod.at(9000), ""), Err(ECONNREFUSED), "into the pod");
    Agent::with(config).uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_open_goes_its_way() {
    let network = Network::new();
    let (pod, other) = (network.pod(1), network.pod(2));
    let agent = Agent::start(WhenDown::Open);
    let _application = (pod.echo(pod.at(9000)), other.echo(other.at(9000)), other.echo(other.at6(9000)));
    agent.sync(&[&pod]).await;
    let (mut inside, mut outside) = (Client::start(&pod), Client::start(&other));
    inside.connect(other.at(9000), "").unwrap();
    assert_eq!(agent.outbound().await.original.socket(), other.at(9000), "while an agent runs");
    let config = agent.stop().await;
    for to in [other.at(9000), other.at6(9000)] {
        assert_eq!(inside.connect(to, ""), Ok(to));
        assert!(inside.say("open").unwrap().starts_with("open from"), "out of the pod");
    }
    outside.connect(pod.at(9000), "").unwrap();
    assert_eq!(outside.say("open"), Ok(format!("open from {}", other.v4)), "into the pod");
    Agent::with(config).uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_programs_log_is_in_the_agents_log() {
    let log = Log::default();
    let writer = {
        let log = log.clone();
        move || log.clone()
    };
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only test that reads the log");
    let network = Network::new();
    let pod = network.pod(1);
    let agent = Agent::start(WhenDown::Closed);
    agent.sync(&[&pod]).await;
    let mut client = Client::start(&pod);
    assert_eq!(client.connect("192.0.2.1:80".parse().unwrap(), "device=eth0 uid=65534"), Err(EPERM));
    for _ in 0..50 {
        if log.text().contains("ebpf:") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let text = log.text();
    assert!(text.contains("WARN ebpf: refused a connection to port 80: its socket is bound to a device"), "{text}");
    agent.uninstall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_its_object_does_not_start() {
    let mut config = super::agent::config(WhenDown::Closed);
    config.object = Some("/nonexistent/object".into());
    let nobody = Arc::new(super::agent::Nobody);
    let error = Capture::start(&config, nobody).err().expect("it refuses").to_string();
    assert!(error.contains("/nonexistent/object"), "{error}");
    super::agent::leave_cgroup();
    underpass::capture::uninstall(&config.pin_dir, &config.cgroup).await.unwrap();
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
