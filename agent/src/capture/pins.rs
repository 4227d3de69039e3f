//! What keeps programs attached without the agent: links pinned in the bpf file system.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

/// Where the bpf file system belongs.
const BPF_FS: &str = "/sys/fs/bpf";
const NETNS_PREFIX: &str = "netns-";
/// Of links on their way to their place. No dot: the bpf file system refuses names with one.
const NEXT_PREFIX: &str = "next-";

/// Pinning failed.
#[derive(Debug, Error)]
pub enum PinFailed {
    /// The directory is in another file system, or could not be made.
    #[error("{} is no directory in a bpf file system: `mount -t bpf bpf {BPF_FS}`", path.display())]
    Directory {
        /// As configured.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused to pin.
    #[error("cannot pin a link at {}", path.display())]
    Link {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: PinError,
    },
    /// The pin could not take its predecessor's place.
    #[error("cannot replace the pinned link {}", path.display())]
    Replace {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Before Linux 5.7 there are no links to pin.
    #[error("this kernel has no cgroup links: Linux 5.7 is needed")]
    OldKernel(#[source] LinkError),
}

impl PinFailed {
    pub(super) fn old_kernel(error: LinkError) -> Self {
        Self::OldKernel(error)
    }
}

/// Makes the directories for links and maps, mounting the bpf file system where that is missing.
pub(super) fn prepare(pin_dir: &Path, map_dir: &Path) -> Result<(), PinFailed> {
    let failed = |source| PinFailed::Directory { path: pin_dir.to_owned(), source };
    if pin_dir.starts_with(BPF_FS) && !is_bpf(Path::new(BPF_FS)) {
        mount(Some("bpf"), BPF_FS, Some("bpf"), MsFlags::empty(), None::<&str>)
            .map_err(|errno| failed(errno.into()))?;
    }
    fs::create_dir_all(map_dir).map_err(failed)?;
    if is_bpf(map_dir) { Ok(()) } else { Err(failed(io::ErrorKind::Unsupported.into())) }
}

/// Pins a link that is attached already, then lets go of the one that was pinned there: for a moment both run.
pub(super) fn replace(link: FdLink, pin_dir: &Path, name: &str) -> Result<(), PinFailed> {
    let path = pin_dir.join(name);
    let next = pin_dir.join(format!("{NEXT_PREFIX}{name}"));
    // Left by an agent that died between the two steps.
    _ = fs::remove_file(&next);
    link.pin(&next).map_err(|source| PinFailed::Link { path: next.clone(), source })?;
    fs::rename(&next, &path).map_err(|source| PinFailed::Replace { path, source })
}

/// Lets go of a pinned link.
pub(super) fn remove(pin_dir: &Path, name: &str) {
    let path = pin_dir.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a pinned link could not be removed");
        }
        _ => {}
    }
}

/// The name under which a namespace's lookup link is pinned.
pub(super) fn netns_name(cookie: u64) -> String {
    format!("{NETNS_PREFIX}{cookie}")
}

/// The cookies of the namespaces with a pinned lookup link.
pub(super) fn pinned_netns(pin_dir: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(pin_dir) else {
        return Vec::new();
    };
    let cookie = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(NETNS_PREFIX)?.parse().ok();
    entries.filter_map(Result::ok).filter_map(cookie).collect()
}

/// Removes the maps of other layouts, once no link that uses them is left.
pub(super) fn remove_other_maps(pin_dir: &Path, map_dir: &Path) {
    let directories = fs::read_dir(pin_dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    for stale in directories.filter(|path| path.is_dir() && path != map_dir) {
        if let Err(error) = fs::remove_dir_all(&stale) {
            tracing::warn!(path = %stale.display(), %error, "maps of an older agent could not be removed");
        }
    }
}

/// Removes the links, then the maps: a program that still runs never finds its map's pin gone.
pub(super) fn remove_all(pin_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(pin_dir)
}

fn is_bpf(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}
