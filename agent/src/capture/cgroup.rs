//! The agent's own cgroup, by which the programs tell its connections from a pod's. No pod can forge it.
//!
//! On a hybrid mount every process sits in the v2 root until something moves it: without a cgroup of its own the
//! agent would look like every pod.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The cgroup cannot be used.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// No cgroup v2 is mounted.
    #[error("no cgroup v2 is mounted (looked in /proc/mounts); mount it: mount -t cgroup2 none /sys/fs/cgroup")]
    NotMounted,
    /// A file of it cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The cgroup that the agent runs in.
#[derive(Debug)]
pub struct AgentCgroup {
    /// The v2 root, where programs are attached.
    pub root: PathBuf,
    /// The inode of the agent's cgroup: what `bpf_get_current_cgroup_id` returns.
    pub id: u64,
}

impl AgentCgroup {
    /// Makes the cgroup where it is missing and moves this process into it.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn enter(name: &str) -> Result<Self, CgroupError> {
        let root = root()?;
        let path = root.join(name);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| CgroupError::Io { path, source }
        };
        fs::create_dir_all(&path).map_err(io(&path))?;
        let procs = path.join("cgroup.procs");
        fs::write(&procs, std::process::id().to_string()).map_err(io(&procs))?;
        let id = fs::metadata(&path).map_err(io(&path))?.ino();
        Ok(Self { root, id })
    }

    /// Removes a cgroup that no process is in any more.
    ///
    /// # Errors
    /// [`CgroupError`]; a cgroup that is not there is no error.
    pub fn remove(name: &str) -> Result<(), CgroupError> {
        let path = root()?.join(name);
        match fs::remove_dir(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CgroupError::Io { path, source }),
            _ => Ok(()),
        }
    }
}

/// Where cgroup v2 is mounted: on a hybrid node not at `/sys/fs/cgroup`.
pub(super) fn root() -> Result<PathBuf, CgroupError> {
    let path = PathBuf::from("/proc/mounts");
    let mounts = fs::read_to_string(&path).map_err(|source| CgroupError::Io { path, source })?;
    let mount =
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|mount| mount.get(2) == Some(&"cgroup2"));
    mount.map(|mount| PathBuf::from(mount[1])).ok_or(CgroupError::NotMounted)
}
