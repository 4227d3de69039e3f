//! An application as a process of its own, outside the agent's cgroup: this test binary, started again, told over its
//! standard input what to do.

use super::network::TestPod;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use underpass::capture::Netns;

const NETNS: &str = "UNDERPASS_TEST_CLIENT_NETNS";
const PATIENCE: Duration = Duration::from_secs(5);

/// A running application in a pod.
pub struct Client {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub fn start(pod: &TestPod) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["capture::client::application_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(NETNS, &pod.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary can be started");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, input, output }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it takes commands.
    pub fn ready(&mut self) {
        // An answer of any kind: it is not connected yet.
        let _ = self.ask("peer");
    }

    /// Opens the application's connection. `options`: `mapped`, `device=eth0`, `mark=N`, `uid=N`, `bind=IP`.
    ///
    /// The answer is the peer address that the application is told, or the errno.
    pub fn connect(&mut self, to: SocketAddr, options: &str) -> Result<SocketAddr, i32> {
        let answer = self.ask(&format!("connect {to} {options}"));
        answer.map(|peer| peer.parse().expect("an address"))
    }

    /// Says a line on the connection and hears one.
    pub fn say(&mut self, line: &str) -> Result<String, i32> {
        self.ask(&format!("say {line}"))
    }

    /// The peer address as the application is told now.
    pub fn peer(&mut self) -> Result<SocketAddr, i32> {
        self.ask("peer").map(|peer| peer.parse().expect("an address"))
    }

    fn ask(&mut self, command: &str) -> Result<String, i32> {
        writeln!(self.input, "{command}").expect("the application listens");
        // The test harness of the other process prints lines of its own.
        let answer =
            self.output.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once("=> ")?.1.to_owned()));
        let answer = answer.expect("the application answers");
        match answer.split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some((_, errno)) => Err(errno.parse().expect("an errno")),
            None => Ok(String::new()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: what [`Client`] starts. Without its variable it has nothing to do.
#[test]
fn application_process() {
    let Ok(name) = std::env::var(NETNS) else { return };
    super::agent::leave_cgroup();
    let netns = Netns::open(&Path::new("/run/netns").join(name)).expect("the pod is there");
    let mut connection = None;
    for command in io::stdin().lines().map_while(Result::ok) {
        match perform(&netns, &mut connection, &command) {
            Ok(text) => println!("=> ok {text}"),
            Err(error) => println!("=> error {}", error.raw_os_error().unwrap_or(-1)),
        }
    }
}

fn perform(netns: &Netns, connection: &mut Option<TcpStream>, command: &str) -> io::Result<String> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    if verb == "connect" {
        let (to, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let stream: TcpStream = netns.within(|| connect(to.parse().expect("an address"), options))?.into();
        let peer = stream.peer_addr()?;
        *connection = Some(stream);
        return Ok(peer.to_string());
    }
    let stream = connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    if verb == "peer" {
        return Ok(stream.peer_addr()?.to_string());
    }
    writeln!(stream, "{rest}")?;
    let mut answer = String::new();
    let read = BufReader::new(stream.try_clone()?).read_line(&mut answer)?;
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer.trim_end().to_owned()) }
}

fn connect(to: SocketAddr, options: &str) -> io::Result<Socket> {
    let options: Vec<_> = options.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
    let option = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let to = match (to.ip(), option("mapped")) {
        (IpAddr::V4(ip), Some(_)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
        _ => to,
    };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if let Some(device) = option("device") {
        setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
    }
    if let Some(mark) = option("mark") {
        socket.set_mark(mark.parse().expect("a number"))?;
    }
    if let Some(ip) = option("bind") {
        socket.bind(&SocketAddr::new(ip.parse().expect("an address"), 0).into())?;
    }
    if let Some(uid) = option("uid") {
        let uid = nix::unistd::Uid::from_raw(uid.parse().expect("a number"));
        nix::unistd::seteuid(uid)?;
        let connected = socket.connect_timeout(&to.into(), PATIENCE);
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(0))?;
        return connected.map(|()| socket);
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket)
}
