//! An agent of a test: capture alone, its connections handed to the test.

use super::network::TestPod;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use underpass::capture::{Accept, Capture, Captured, Config, WantedPod, WhenDown, uninstall};
use underpass::vocab::PodId;
use underpass_tests::clean::cgroup_root;

const PATIENCE: Duration = Duration::from_secs(5);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Capture under test.
pub struct Agent {
    pub capture: Capture,
    pub config: Config,
    outbound: Mutex<UnboundedReceiver<Captured>>,
    inbound: Mutex<UnboundedReceiver<Captured>>,
}

struct Hand {
    outbound: UnboundedSender<Captured>,
    inbound: UnboundedSender<Captured>,
}

impl Accept for Hand {
    fn outbound(&self, captured: Captured) {
        let _ = self.outbound.send(captured);
    }

    fn inbound(&self, captured: Captured) {
        let _ = self.inbound.send(captured);
    }
}

/// Takes nothing.
pub struct Nobody;

impl Accept for Nobody {
    fn outbound(&self, _: Captured) {}

    fn inbound(&self, _: Captured) {}
}

/// A configuration of a test's own.
pub fn config(when_down: WhenDown) -> Config {
    let name = format!("t-kernel-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Config { pin_dir: PathBuf::from("/sys/fs/bpf").join(&name), cgroup: name, kubelet: None, when_down, object: None }
}

/// Moves this process to the v2 root, where applications of a hybrid mount are.
pub fn leave_cgroup() {
    let procs = cgroup_root().expect("cgroup v2 is mounted").join("cgroup.procs");
    std::fs::write(procs, std::process::id().to_string()).expect("the root takes any process");
}

impl Agent {
    pub fn start(when_down: WhenDown) -> Self {
        Self::with(config(when_down))
    }

    pub fn with(config: Config) -> Self {
        let (outbound, outbound_receiver) = unbounded_channel();
        let (inbound, inbound_receiver) = unbounded_channel();
        let capture = Capture::start(&config, Arc::new(Hand { outbound, inbound })).expect("capture starts");
        Self { capture, config, outbound: Mutex::new(outbound_receiver), inbound: Mutex::new(inbound_receiver) }
    }

    /// Captures exactly these pods.
    pub async fn sync(&self, pods: &[&TestPod]) {
        let wanted: Vec<_> = pods.iter().map(|pod| wanted(pod)).collect();
        let waiting = self.capture.sync(&wanted).await;
        assert_eq!(waiting, 0, "{:?}", self.capture.pods().await);
    }

    pub async fn outbound(&self) -> Captured {
        let next = timeout(PATIENCE, async { self.outbound.lock().await.recv().await }).await;
        next.expect("an outbound connection is captured").expect("the agent runs")
    }

    pub async fn inbound(&self) -> Captured {
        let next = timeout(PATIENCE, async { self.inbound.lock().await.recv().await }).await;
        next.expect("an inbound connection is captured").expect("the agent runs")
    }

    pub async fn captured_nothing(&self) -> bool {
        let pause = Duration::from_millis(100);
        let none = timeout(pause, async { self.outbound.lock().await.recv().await }).await.is_err();
        none && timeout(pause, async { self.inbound.lock().await.recv().await }).await.is_err()
    }

    /// The agent ends as if it were killed; its pins stay.
    pub async fn stop(self) -> Config {
        self.capture.stop_accepting().await;
        leave_cgroup();
        self.config.clone()
    }

    /// The agent ends and everything is taken away.
    pub async fn uninstall(self) {
        let config = self.stop().await;
        uninstall(&config.pin_dir, &config.cgroup).await.expect("capture is removed");
        assert!(!config.pin_dir.exists(), "pins are left");
    }
}

pub fn wanted(pod: &TestPod) -> WantedPod {
    WantedPod {
        id: PodId { namespace: "test".into(), name: pod.name.as_str().into() },
        addresses: vec![pod.v4, pod.v6],
    }
}

/// What a failed test would leave.
impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            leave_cgroup();
            let _ = std::fs::remove_dir_all(&self.config.pin_dir);
        }
    }
}

/// Hears a line from a captured connection and says one.
pub async fn answer(captured: Captured, text: &str) -> String {
    let mut stream = BufReader::new(captured.stream);
    let mut line = String::new();
    timeout(PATIENCE, stream.read_line(&mut line)).await.expect("a line comes").expect("a line");
    stream.write_all(format!("{text}\n").as_bytes()).await.expect("the peer reads");
    line.trim_end().to_owned()
}
