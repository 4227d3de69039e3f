//! Removes a lab by its names alone, so that one that was killed anywhere goes too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::network::{remove_netns, root_link};
use crate::process;
use crate::record::{BASE, Record};
use crate::run::run;

/// Where pins of labs are.
pub const PINS: &str = "/sys/fs/bpf/underpass-lab";

/// What agents of a lab are called: pins below [`PINS`] and cgroups.
pub fn agent_name(lab: &str, cluster: &str, node: &str) -> String {
    format!("{lab}-{cluster}-{node}")
}

/// Ends every process, removes every namespace, link, pin, cgroup and file of a lab.
///
/// # Errors
/// Something cannot be removed; what comes after it was tried.
pub fn remove(lab: &str) -> Result<()> {
    let pids = process::of_lab(lab);
    process::end(lab, &pids, Duration::from_secs(2));
    // One that was being started when the others ended.
    process::end(lab, &process::of_lab(lab), Duration::ZERO);
    let mut result = Ok(());
    let mut keep = |outcome: Result<()>| {
        if outcome.is_err() && result.is_ok() {
            result = outcome;
        }
    };
    for netns in namespaces(lab) {
        keep(remove_netns(&netns));
    }
    keep(remove_link(&root_link(lab)));
    for path in named(Path::new(PINS), &format!("{lab}-")) {
        keep(fs::remove_dir_all(&path).with_context(|| path.display().to_string()));
    }
    for path in cgroups(lab) {
        keep(remove_cgroup(&path));
    }
    let dir = Record::dir_of(lab);
    if dir.exists() {
        keep(fs::remove_dir_all(&dir).with_context(|| dir.display().to_string()));
    }
    remove_shared();
    result
}

/// The last lab leaves nothing: each of these goes if it is empty.
fn remove_shared() {
    let _ = fs::remove_dir(PINS);
    for mount in ["/run/netns", "/sys/fs/bpf"].iter().filter(|mount| is_own_mount(mount)) {
        let is_empty = fs::read_dir(mount).is_ok_and(|mut entries| entries.next().is_none());
        // Somebody else may have been quicker to unmount it.
        let is_gone = |mount| !is_mounted(mount) || run(Command::new("umount").arg(mount)).is_ok();
        if is_empty && is_gone(mount) {
            let _ = fs::remove_file(mark_of(mount));
        }
    }
    for shared in [BASE, "/etc/netns"] {
        let _ = fs::remove_dir(shared);
    }
}

/// Remembers that a lab is about to make this mount: it goes with the last lab. Nothing where it is there already.
///
/// # Errors
/// The file system's.
pub fn note_mount(path: &str) -> Result<()> {
    fs::create_dir_all(BASE).context(BASE)?;
    if !is_mounted(path) {
        fs::write(mark_of(path), "")?;
    }
    Ok(())
}

/// Whether something is mounted there.
pub fn is_mounted(path: &str) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(path))
}

fn is_own_mount(path: &str) -> bool {
    mark_of(path).exists()
}

fn mark_of(mount: &str) -> PathBuf {
    Path::new(BASE).join(format!(".mounted{}", mount.replace('/', "-")))
}

/// The network namespaces of a lab, and those whose files are left.
pub fn namespaces(lab: &str) -> Vec<String> {
    let prefix = format!("up-{lab}-");
    let mut names: Vec<String> = ["/run/netns", "/etc/netns"]
        .iter()
        .flat_map(|dir| named(Path::new(dir), &prefix))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The root of the v2 hierarchy: `/sys/fs/cgroup`, or below it on hybrid mounts.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut rows = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    rows.find(|row| row.get(2) == Some(&"cgroup2")).map(|row| PathBuf::from(row[1]))
}

/// The v2 cgroups of a lab's agents.
pub fn cgroups(lab: &str) -> Vec<PathBuf> {
    cgroup_root().map(|root| named(&root, &format!("underpass-lab-{lab}-"))).unwrap_or_default()
}

// A cgroup is removed from its leaves; its files are no files.
fn remove_cgroup(path: &Path) -> Result<()> {
    for child in fs::read_dir(path).into_iter().flatten().filter_map(|entry| entry.ok()) {
        if child.path().is_dir() {
            remove_cgroup(&child.path())?;
        }
    }
    // Busy for a moment after its last process ended.
    for _ in 0..100 {
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::remove_dir(path).with_context(|| path.display().to_string())
}

fn remove_link(name: &str) -> Result<()> {
    if Path::new("/sys/class/net").join(name).exists() {
        // It goes with the fabric's namespace, a moment later than that.
        let outcome = run(Command::new("ip").args(["link", "del", name]));
        if Path::new("/sys/class/net").join(name).exists() {
            outcome?;
        }
    }
    Ok(())
}

fn named(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok());
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path()).collect()
}
