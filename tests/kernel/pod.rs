//! A pod in miniature: a network namespace joined to a far one, and the programs loaded for it alone.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, os::unix::fs::MetadataExt};

use socket2::{Domain, Socket, Type};
use underpass::capture::{Counts, LoadOptions, Netns, Programs, remove_pins};
use underpass_tests::clean::cgroup_root;

/// No process is in this cgroup.
pub const NOBODY: u64 = u64::MAX;
pub const POD_V4: &str = "10.77.0.2";
pub const POD_V6: &str = "fd77::2";
pub const FAR_V4: &str = "10.77.0.1";
pub const FAR_V6: &str = "fd77::1";

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Pod {
    pub inside: Netns,
    pub far: Netns,
    pub pin_dir: PathBuf,
    names: [String; 2],
}

impl Pod {
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let names = ["p", "f"].map(|end| format!("t-k2-{}-{number}{end}", std::process::id()));
        names.iter().for_each(|name| run(&format!("ip netns add {name}")));
        let [pod, far] = &names;
        run(&format!("ip -n {pod} link add eth0 type veth peer name eth0 netns {far}"));
        for (name, v4, v6) in [(pod, POD_V4, POD_V6), (far, FAR_V4, FAR_V6)] {
            run(&format!("ip -n {name} addr add {v4}/24 dev eth0"));
            run(&format!("ip -n {name} addr add {v6}/64 dev eth0 nodad"));
            run(&format!("ip -n {name} link set lo up"));
            run(&format!("ip -n {name} link set eth0 up"));
        }
        let open = |name: &String| Netns::open(&Path::new("/run/netns").join(name)).unwrap();
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/{pod}"));
        Self { inside: open(pod), far: open(far), pin_dir, names }
    }

    pub fn load(&self, agent_cgroup_id: u64, when_down_open: bool) -> Programs {
        let options = LoadOptions {
            pin_dir: self.pin_dir.clone(),
            agent_cgroup_id,
            kubelet_cgroup_id: 0,
            when_down_open,
            object: None,
        };
        Programs::load(&options).unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    /// Loaded and enrolled, with this process an application.
    pub fn captured(&self) -> Programs {
        let programs = self.load(NOBODY, false);
        programs.enrol(self.inside.cookie()).unwrap();
        programs
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        remove_pins(&self.pin_dir).unwrap();
        self.names.iter().for_each(|name| run(&format!("ip netns del {name}")));
    }
}

pub fn listen(netns: &Netns, address: &str, port: u16) -> TcpListener {
    netns.within(|| TcpListener::bind((ip(address), port))).unwrap()
}

pub fn connect(netns: &Netns, address: &str, port: u16) -> io::Result<TcpStream> {
    netns.within(|| TcpStream::connect_timeout(&to(address, port), Duration::from_secs(2)))
}

/// With a socket that `prepare` has had its way with.
pub fn connect_with(
    netns: &Netns,
    domain: Domain,
    destination: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    netns.within(|| {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        prepare(&socket)?;
        socket.connect_timeout(&destination.into(), Duration::from_secs(2))?;
        Ok(socket.into())
    })
}

/// Accepts within two seconds.
pub fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    until("a connection arrives", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    accepted.unwrap()
}

pub fn is_idle(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_err()
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(2);
    while !is_so() {
        assert!(Instant::now() < end, "not within two seconds: {what}");
        sleep(Duration::from_millis(1));
    }
}

pub fn nothing_left(programs: &Programs) {
    until("nothing is left in the maps", || {
        let Counts { flows, trusted, .. } = programs.counts();
        (flows, trusted) == (0, 0)
    });
}

/// The cgroup that this process is in, which a test declares to be the agent's.
pub fn own_cgroup() -> u64 {
    let root = cgroup_root().expect("cgroup v2 is mounted");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    fs::metadata(format!("{}{path}", root.display())).unwrap().ino()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn to(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}: {status} (these tests run as root)");
}
