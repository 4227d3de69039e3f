//! What several test files start from: a client on one node, applications on another, and on a third, which has no
//! agent, pods that the mesh believes to be its own: what their agent would say, the tests say.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use underpass_tests::{Agent, Lab, Options, Topology, Tunnel, until};

/// A meshed pod of east-1 that runs nothing.
pub const CLIENT: &str = "east/default/client";
/// The first version of service `web`, on east-2: HTTP on 8080, lines on 9000.
pub const WEB: &str = "east/default/web-v1";
/// A pod of east-3 that is of the mesh by its object; nobody captures it.
pub const STRANGER: &str = "east/default/stranger";
/// A pod of east-1 outside the mesh.
pub const OUTSIDER: &str = "east/outside/outsider";
/// Long enough for a change of manifests to be in force, on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// Brings the lab up.
pub fn up(name: &str) -> Result<Lab> {
    let mut topology = Topology::default();
    topology.clusters.truncate(1);
    let mut third = underpass_tests::Node::named("east-3");
    (third.agent, third.tunnel) = (false, Some(Tunnel::Underpass));
    topology.clusters[0].nodes.push(third);
    let mut lab = Lab::up(Options { topology, ..Options::test(name) })?;
    lab.apply_text("east", include_str!("pair.yaml"), "pair")?;
    for url in ["http://web:8080/", "http://other:8080/"] {
        until("the mesh answers", SOON, || (status(&lab, CLIENT, url).ok()? == 200).then_some(()))?;
    }
    Ok(lab)
}

/// Sub-steps that share a lab: one that fails does not hide the others.
#[derive(Default)]
pub struct Steps {
    failed: Vec<String>,
}

impl Steps {
    /// Does a step and says how it went.
    pub fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| Err(anyhow!("panicked, see above")));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        eprintln!("  {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f64());
        if let Err(error) = outcome {
            eprintln!("    {error:#}");
            self.failed.push(format!("{name}: {error:#}"));
        }
    }

    /// The end: no step failed, and no task of an agent panicked.
    pub fn finish(mut self, lab: &Lab) {
        for agent in lab.agents() {
            let log = std::fs::read_to_string(&agent.record.log).unwrap_or_default();
            let panics = log.lines().filter(|line| line.contains("panicked at"));
            self.failed.extend(panics.map(|line| format!("the agent of {}: {line}", agent.record.node)));
        }
        assert!(self.failed.is_empty(), "{} steps failed:\n{}", self.failed.len(), self.failed.join("\n"));
    }
}

/// Does something on a thread inside a pod's network namespace; sockets made there belong to the pod.
pub fn within<T: Send>(lab: &Lab, pod: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let netns = File::open(format!("/run/netns/{}", lab.pod(pod)?.netns))?;
    let inside = || {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).map_err(|_| anyhow!("panicked in the pod"))?
}

/// A connection from a pod, with deadlines for reading and writing.
pub fn connect(lab: &Lab, pod: &str, to: SocketAddr) -> Result<TcpStream> {
    within(lab, pod, || {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// A pod's IPv4 address with a port.
pub fn at(lab: &Lab, pod: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(IpAddr::V4(lab.pod(pod)?.v4), port))
}

/// The addresses of a service, IPv4 first.
pub fn service(lab: &Lab, name: &str) -> Result<Vec<IpAddr>> {
    let store = underpass_tests::store::Store::open(lab.record.manifests("east"))?;
    let services = store.all("Service").into_iter().find(|service| service.name == name);
    let addresses = underpass_tests::service::addresses(&services.context("no such service")?.value);
    Ok(addresses.iter().map(|ip| ip.parse()).collect::<Result<_, _>>()?)
}

/// The status of a GET from a pod; an error where no HTTP came back.
pub fn status(lab: &Lab, pod: &str, url: &str) -> Result<u16> {
    curl(lab, pod, &["-o", "/dev/null", "-w", "%{http_code}", url])?.parse().context("no status")
}

/// curl in a pod, 5 s at most; what it prints.
pub fn curl(lab: &Lab, pod: &str, words: &[&str]) -> Result<String> {
    lab.exec_ok(pod, &[&["curl", "-sS", "-m", "5"], words].concat())
}

/// How many of these requests each version of a service answered; all have to be answered with 200.
pub fn versions(lab: &Lab, url: &str, requests: u32) -> Result<Value> {
    let count = requests.to_string();
    let seen = lab.client(CLIENT, &["load", "--url", url, "--requests", &count, "--timeout-ms", "5000"])?;
    if seen["statuses"]["200"] != requests {
        bail!("not all were answered: {seen}");
    }
    Ok(seen["by_version"].clone())
}

/// Reads to the end of the stream, or to its reset: what came, and the reset.
pub fn drained(stream: &mut impl Read) -> (Vec<u8>, std::io::Result<()>) {
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all).map(drop);
    (all, end)
}

/// Says something and reads to the end: what came, and the error that ended it. Writing may meet the reset first, and
/// then reading sees an ordinary end.
pub fn exchange(stream: &mut TcpStream, said: &[u8]) -> (Vec<u8>, std::io::Result<()>) {
    let written = stream.write_all(said);
    let (data, end) = drained(stream);
    (data, written.and(end))
}

/// As [`exchange`], on a connection of its own: a reset may come before `connect` has returned.
pub fn ask(lab: &Lab, pod: &str, to: SocketAddr, said: &[u8]) -> Result<(Vec<u8>, std::io::Result<()>)> {
    match connect(lab, pod, to) {
        Ok(mut stream) => Ok(exchange(&mut stream, said)),
        Err(error) => Ok((Vec::new(), Err(error.downcast()?))),
    }
}

/// Whether a connection ended by a reset.
pub fn is_reset(end: &std::io::Result<()>) -> bool {
    end.as_ref().is_err_and(|error| [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()))
}

/// The finding with this code, once there is one.
pub fn finding(agent: &Agent, code: &str) -> Result<Value> {
    let found = until(&format!("a finding {code}"), SOON, || {
        findings(agent).into_iter().find(|finding| finding["code"] == code)
    });
    found.with_context(|| format!("there are {:?}", findings(agent)))
}

/// Waits until there is no finding with this code.
pub fn no_finding(agent: &Agent, code: &str) -> Result<()> {
    until(&format!("no finding {code}"), SOON, || {
        findings(agent).iter().all(|finding| finding["code"] != code).then_some(())
    })
}

fn findings(agent: &Agent) -> Vec<Value> {
    agent.admin("/findings").ok().and_then(|all| all.as_array().cloned()).unwrap_or_default()
}

/// The access log line that fits, once it is there; `from` is how many lines there were before.
pub fn logged(agent: &Agent, from: usize, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    let find = || agent.access_log().into_iter().skip(from).find(|line| fits(line));
    until("an access log line", SOON, find).with_context(|| {
        let lines: Vec<String> = agent.access_log().into_iter().skip(from).map(|line| line.to_string()).collect();
        format!("on {} there are\n{}", agent.record.node, lines.join("\n"))
    })
}

/// Fails unless a request of the same client to another service is answered.
pub fn others_work(lab: &Lab) -> Result<()> {
    match status(lab, CLIENT, "http://other:8080/")? {
        200 => Ok(()),
        other => bail!("the other service answers {other}"),
    }
}
