//! The kubelet's cgroup, by which the programs tell its probes from other connections of the node. A pod cannot forge
//! it, and no other process of the node is in it.

use super::load::{LoadError, Programs};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Where the kubelet runs, below the root of cgroup v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletCgroup(PathBuf);

/// No name of a cgroup below the root.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected a cgroup below the root of cgroup v2, as the third field of /proc/PID/cgroup has it")]
pub struct NoCgroupName;

impl FromStr for KubeletCgroup {
    type Err = NoCgroupName;

    /// As `/proc/PID/cgroup` prints it, with or without the slash. Not the root: on a hybrid mount everybody is there.
    fn from_str(text: &str) -> Result<Self, NoCgroupName> {
        let below = PathBuf::from(text.strip_prefix('/').unwrap_or(text));
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        if below.as_os_str().is_empty() || !is_plain {
            return Err(NoCgroupName);
        }
        Ok(Self(below))
    }
}

impl KubeletCgroup {
    /// The inode of the cgroup: what `bpf_get_current_cgroup_id` returns. `None` while there is none.
    fn id_below(&self, root: &Path) -> Option<u64> {
        let found = fs::metadata(root.join(&self.0)).ok()?;
        found.is_dir().then(|| found.ino())
    }
}

impl fmt::Display for KubeletCgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

/// The kubelet as the programs know it. A service that is started again has a new cgroup: somebody has to look.
pub(super) struct Kubelet {
    cgroup: Option<KubeletCgroup>,
    /// Where cgroup v2 is mounted.
    root: PathBuf,
    known: Mutex<Option<u64>>,
}

impl Kubelet {
    /// Looks below the root of cgroup v2 for the first time. `None`: nobody's connections are probes.
    pub(super) fn find(cgroup: Option<KubeletCgroup>, root: PathBuf) -> Self {
        let known = cgroup.as_ref().and_then(|cgroup| cgroup.id_below(&root));
        let kubelet = Self { cgroup, root, known: Mutex::new(known) };
        kubelet.report(known);
        kubelet
    }

    /// Its id as the programs are told it: 0, which no cgroup has, where none is known.
    pub(super) fn id(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(0)
    }

    /// Looks again, and tells the programs where it is another. Whether it is known now.
    ///
    /// # Errors
    /// The programs could not be told; the next look tries again.
    pub(super) fn follow(&self, programs: &Programs) -> Result<bool, LoadError> {
        let now = self.cgroup.as_ref().and_then(|cgroup| cgroup.id_below(&self.root));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != now {
            programs.set_kubelet(now.unwrap_or(0))?;
            *known = now;
            self.report(now);
        }
        Ok(now.is_some())
    }

    fn report(&self, known: Option<u64>) {
        match (&self.cgroup, known) {
            (Some(cgroup), Some(id)) => tracing::info!(%cgroup, id, "the kubelet's probes pass"),
            (Some(cgroup), None) => tracing::warn!(
                %cgroup,
                "no such cgroup: the kubelet's probes meet the policies of their pods; name its cgroup with \
                 --kubelet-cgroup (the third field of its /proc/PID/cgroup)"
            ),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_named_as_proc_prints_it() {
        for text in ["system.slice/kubelet.service", "/system.slice/kubelet.service"] {
            let named: KubeletCgroup = text.parse().unwrap();
            assert_eq!(named.to_string(), "system.slice/kubelet.service");
        }
    }

    #[test]
    fn the_root_and_what_leads_out_of_it_are_no_names() {
        for text in ["", "/", "//", ".", "..", "/../x", "kubelet/../..", "//x"] {
            assert_eq!(text.parse::<KubeletCgroup>(), Err(NoCgroupName), "{text:?}");
        }
    }
}
