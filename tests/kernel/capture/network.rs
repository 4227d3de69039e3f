//! Network namespaces of a test: a pod behind a veth, made and removed with `ip`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use underpass::capture::Netns;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Runs `ip`, panics with its words.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Namespaces joined by a bridge in a namespace of its own: nothing is added to the machine's.
pub struct Network {
    bridge: String,
    number: u32,
}

/// A pod of a [`Network`]: eth0 with 10.77.N.H/24 and fd77:N::H/64.
pub struct TestPod {
    pub name: String,
    pub v4: IpAddr,
    pub v6: IpAddr,
    pub netns: Netns,
}

impl Network {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the kernel tier needs root");
        let number = std::process::id() % 200 * 50 + NEXT.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("t-kernel-{number}-br");
        ip(&format!("netns add {bridge}"));
        let network = Self { bridge, number };
        ip(&format!("-n {} link add br0 type bridge", network.bridge));
        ip(&format!("-n {} link set br0 up", network.bridge));
        network
    }

    /// A pod with host number `host`.
    pub fn pod(&self, host: u8) -> TestPod {
        let (name, bridge, octet) = (format!("t-kernel-{}-{host}", self.number), &self.bridge, self.number % 250);
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link add eth0 type veth peer name p{host} netns {bridge}"));
        ip(&format!("-n {bridge} link set p{host} master br0 up"));
        ip(&format!("-n {name} addr add 10.77.{octet}.{host}/24 dev eth0"));
        ip(&format!("-n {name} addr add fd77:{octet}::{host}/64 dev eth0 nodad"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} route add default via 10.77.{octet}.254"));
        ip(&format!("-n {name} route add default via fd77:{octet}::254"));
        let netns = Netns::open(&PathBuf::from("/run/netns").join(&name)).expect("the namespace was made");
        let v4 = format!("10.77.{octet}.{host}").parse().expect("an address");
        let v6 = format!("fd77:{octet}::{host}").parse().expect("an address");
        TestPod { name, v4, v6, netns }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.bridge]).output();
    }
}

impl Drop for TestPod {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

impl TestPod {
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.v4, port)
    }

    pub fn at6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.v6, port)
    }

    /// Sets a sysctl of the namespace, named as below /proc/sys.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.netns.within(|| std::fs::write(format!("/proc/sys/{name}"), value)).expect("a sysctl");
    }

    /// Reads a sysctl of the namespace.
    pub fn read_sysctl(&self, name: &str) -> String {
        self.netns.within(|| std::fs::read_to_string(format!("/proc/sys/{name}"))).expect("a sysctl")
    }

    /// An application that answers every line with who it sees, `<peer address>`, until the listener is dropped.
    pub fn echo(&self, address: SocketAddr) -> Application {
        let listener = self.netns.within(|| std::net::TcpListener::bind(address)).expect("the port is free");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        listener.set_nonblocking(true).expect("a socket");
        let thread = std::thread::spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                match listener.accept() {
                    Ok((stream, peer)) => drop(std::thread::spawn(move || answer(stream, peer))),
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            }
        });
        Application { _stop: stop, thread: Some(thread) }
    }
}

/// See [`TestPod::echo`].
pub struct Application {
    _stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Application {
    fn drop(&mut self) {
        let (other, _) = std::sync::mpsc::channel();
        drop(std::mem::replace(&mut self._stop, other));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: std::net::TcpStream, peer: SocketAddr) {
    use std::io::{BufRead, BufReader, Write};
    let _ = stream.set_nonblocking(false);
    let Ok(mut writer) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let _: io::Result<()> = writeln!(writer, "{line} from {}", peer.ip());
    }
}
