//! Processes of a lab: started in a network namespace, found again by the lab's mark in their environment.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::unix::fs::MetadataExt;

/// In the environment of every process of a lab, with the lab's name.
pub const MARK: &str = "UNDERPASS_LAB";

/// The user that pods run as (`nobody`).
pub const POD_USER: u32 = 65534;

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to start.
pub struct Start<'a> {
    /// Program and arguments, the namespace's entry included.
    pub argv: Vec<String>,
    /// The environment, beside PATH and the mark.
    pub env: Vec<(String, String)>,
    /// Name of the lab.
    pub lab: &'a str,
    /// Standard output and error.
    pub log: &'a Path,
    /// Working directory.
    pub cwd: PathBuf,
}

/// Entry into a pod's namespace: its own `/etc/hosts`, no user, no capability.
pub fn pod_entry(netns: &str) -> Vec<String> {
    entry(netns, "-all")
}

/// The same with one capability, such as `net_raw`.
pub fn pod_entry_with(netns: &str, capability: &str) -> Vec<String> {
    entry(netns, &format!("-all,+{capability}"))
}

fn entry(netns: &str, capabilities: &str) -> Vec<String> {
    let only = |set: &str| format!("--{set}={capabilities}");
    let user = POD_USER.to_string();
    let words = [
        "ip",
        "netns",
        "exec",
        netns,
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--no-new-privs",
        &only("inh-caps"),
        &only("ambient-caps"),
        &only("bounding-set"),
        "--",
    ];
    words.map(str::to_owned).to_vec()
}

/// Entry into a node's namespace. Not `ip netns exec`: that mounts a /sys without bpffs and cgroups.
pub fn node_entry(netns: &str) -> Vec<String> {
    ["nsenter".to_owned(), format!("--net=/run/netns/{netns}"), "--".to_owned()].to_vec()
}

/// Starts a process that outlives its starter; every word before the program replaces itself, so the pid is its own.
///
/// # Errors
/// The log cannot be opened, `setsid` is missing.
pub fn start(what: &Start) -> Result<u32> {
    let log = OpenOptions::new().create(true).append(true).open(what.log);
    let log = log.with_context(|| what.log.display().to_string())?;
    let child = Command::new("setsid")
        .args(&what.argv)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| SYSTEM_PATH.into()))
        .envs(what.env.iter().map(|(name, value)| (name, value)))
        .env(MARK, what.lab)
        .current_dir(&what.cwd)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    Ok(child.context("cannot start `setsid` (package util-linux)")?.id())
}

/// Whether this pid is a living process of that lab (and not another one that got the number). While its first thread
/// has ended and another is still on its way out, its sockets are open: it lives.
pub fn is_alive(lab: &str, pid: u32) -> bool {
    if pid == 0 {
        return false;
    }
    // A child's number is nobody else's until it is reaped, and wait(2) reaps it when its last thread is gone.
    match waitpid(as_pid(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => true,
        Ok(_) => false,
        Err(_) => is_of(lab, pid) && state(pid).is_some_and(|state| state != 'Z'),
    }
}

/// Ends processes: SIGTERM, and SIGKILL for those that are there after `patience`.
pub fn end(lab: &str, pids: &[u32], patience: Duration) {
    signal(lab, pids, Signal::SIGTERM);
    if !all_gone(lab, pids, patience) {
        signal(lab, pids, Signal::SIGKILL);
        all_gone(lab, pids, Duration::from_secs(5));
    }
}

/// Sends a signal to those that are alive.
pub fn signal(lab: &str, pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter(|pid| is_alive(lab, **pid)) {
        // It may end between the two lines.
        let _ = kill(as_pid(*pid), signal);
    }
}

/// Waits until none is alive; whether it came to that.
pub fn all_gone(lab: &str, pids: &[u32], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if pids.iter().all(|pid| !is_alive(lab, *pid)) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every process of a lab, whoever started it; never the caller or its ancestors.
pub fn of_lab(lab: &str) -> Vec<u32> {
    let mut own = BTreeSet::new();
    let mut pid = std::process::id();
    while pid > 1 && own.insert(pid) {
        pid = parent(pid).unwrap_or(0);
    }
    let listed = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok());
    let pids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| !own.contains(pid) && is_of(lab, *pid)).collect()
}

/// The TCP ports on which the pid's network namespace listens.
pub fn listening(pid: u32) -> BTreeSet<u16> {
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let mut fields = row.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        // include/net/tcp_states.h: TCP_LISTEN = 10.
        (state == "0A").then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())?
    })
    .collect()
}

/// User and system time that a process has used, in seconds (proc(5): utime and stime, in USER_HZ = 100).
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// By the mark in its environment, or by the namespace it is in: nginx writes its title over its environment.
fn is_of(lab: &str, pid: u32) -> bool {
    has_mark(lab, pid) || is_inside(lab, pid)
}

fn is_inside(lab: &str, pid: u32) -> bool {
    let Ok(own) = fs::metadata(format!("/proc/{pid}/ns/net")) else {
        return false;
    };
    let prefix = format!("up-{lab}-");
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut ours = named.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    ours.any(|entry| fs::metadata(entry.path()).is_ok_and(|netns| netns.ino() == own.ino()))
}

fn has_mark(lab: &str, pid: u32) -> bool {
    let mark = format!("{MARK}={lab}");
    // In the middle of execve(2) a process shows an empty environment, and an agent comes by three of them.
    for _ in 0..10 {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if !environ.is_empty() {
            return environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
        }
        if fs::metadata(format!("/proc/{pid}/exe")).is_err() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

// The fields after the program's name, which is in parentheses and may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use std::net::TcpListener;

    use super::*;

    /// The first thread ends at once, the other one after two seconds, with a listening socket.
    const LEADER_ENDS: &str = "import ctypes, socket, sys, threading, time\n\
        held = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
        threading.Thread(target=lambda: time.sleep(2)).start()\n\
        ctypes.CDLL(None).pthread_exit(None)";

    #[test]
    fn a_process_that_is_gone_has_let_go_of_its_sockets() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let argv = ["python3", "-c", LEADER_ENDS, &port.to_string()].map(str::to_owned).to_vec();
        let (log, cwd) = (Path::new("/dev/null"), PathBuf::from("/"));
        let pid = start(&Start { argv, env: Vec::new(), lab: "ends", log, cwd }).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while state(pid) != Some('Z') && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "the other thread holds the socket");
        assert!(all_gone("ends", &[pid], Duration::from_secs(10)));
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
