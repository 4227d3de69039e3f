//! The files that identities and trust are made of: reading them, telling whether they changed, watching them.

use aws_lc_rs::digest;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Notify;
use tracing::warn;

/// A file that cannot be used.
#[derive(Clone, Debug, Error)]
#[error("{}: {why}", file.display())]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub why: String,
}

impl FileError {
    /// What is wrong with a file.
    pub fn new(file: &Path, why: impl Display) -> Self {
        Self { file: file.to_owned(), why: why.to_string() }
    }
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// The file with what is wrong with it.
pub fn certificates_in(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = std::fs::read(file).map_err(|error| FileError::new(file, format!("cannot be read: {error}")))?;
    let ders = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let ders = ders.map_err(|error| FileError::new(file, format!("is not PEM: {error}")))?;
    if ders.is_empty() {
        return Err(FileError::new(file, "holds no certificate"));
    }
    Ok(ders)
}

/// Tells contents apart; files that are not there are empty.
pub fn fingerprint<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for file in files {
        let content = std::fs::read(file).unwrap_or_default();
        context.update(&content.len().to_le_bytes());
        context.update(&content);
    }
    context.finish().as_ref().to_vec()
}

/// Wakes `changed` when something happens in the directories of these files: files are replaced, as a Secret's are,
/// so their directories are watched. Drop the watchers to stop.
pub fn watch<P: AsRef<Path>>(files: impl IntoIterator<Item = P>, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let directory = |file: P| match file.as_ref().parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let directories: BTreeSet<PathBuf> = files.into_iter().map(directory).collect();
    let changed = Arc::clone(changed);
    // Reading is no change: without this, each look at the files would ask for another.
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        if event.is_ok_and(|event| event.kind.is_access() && event.kind != closed) {
            return;
        }
        changed.notify_one();
    });
    let mut watcher = watcher.inspect_err(|error| warn!(%error, "changes of files will not be noticed")).ok()?;
    for directory in directories {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            warn!(%error, directory = %directory.display(), "changes will not be noticed");
        }
    }
    Some(watcher)
}
