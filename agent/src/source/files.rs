//! The files of the roots: finding them, telling which changed, reading them within bounds.

use super::notes::finding;
use super::world::{FileId, World};
use super::{Config, Scope, document};
use crate::model::{Finding, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A larger file is refused: etcd takes 1.5 MB for one object, and memory has to stay bounded.
const MAX_FILE: u64 = 16 << 20;
/// Directories are followed this deep, also through links.
const MAX_DEPTH: usize = 32;

/// Changes whenever a file's content may have.
type Signature = (u64, u64, i64, i64, i64, i64);

/// The roots' files as last seen, and the world they make.
pub struct Files {
    config: Config,
    seen: BTreeMap<FileId, Signature>,
    /// What they make.
    pub world: World,
}

/// What is below a directory.
#[derive(Default)]
pub(super) struct Found {
    /// Manifests, in no particular order.
    pub(super) files: Vec<(PathBuf, Signature)>,
    /// Directories that exist and cannot be read.
    pub(super) closed: Vec<(PathBuf, io::Error)>,
}

impl Files {
    /// Nothing was seen yet.
    pub fn new(config: Config) -> Self {
        Self { world: World::new(config.clone()), config, seen: BTreeMap::new() }
    }

    /// Looks at everything, and reads again what changed.
    pub fn scan(&mut self) {
        for root in 0..self.config.roots.len() {
            self.scan_root(root);
        }
    }

    /// Reads these paths again, whatever they are now: files, directories or nothing.
    pub fn refresh(&mut self, paths: &BTreeSet<PathBuf>) {
        for root in 0..self.config.roots.len() {
            let dir = self.config.roots[root].dir.clone();
            let below: Vec<&Path> = paths.iter().filter_map(|path| path.strip_prefix(&dir).ok()).collect();
            if below.iter().any(|path| is_whole(path)) {
                self.scan_root(root);
            }
            for path in below.into_iter().filter(|path| !is_hidden(path) && !is_whole(path)) {
                self.scan_below(root, path, true);
            }
        }
    }

    fn scan_root(&mut self, root: usize) {
        let dir = self.config.roots[root].dir.clone();
        let (severity, problem) = match fs::metadata(&dir) {
            Ok(meta) if meta.is_dir() => {
                self.world.note(&(root, PathBuf::new()), Vec::new());
                return self.scan_below(root, Path::new(""), false);
            }
            Ok(_) => (Severity::Error, "this is not a directory".to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (Severity::Warning, "this directory does not exist (yet)".to_owned())
            }
            Err(error) => (Severity::Error, format!("this directory cannot be read: {error}")),
        };
        let what = format!("{problem}; what was last read of it stays in force");
        let finding = finding(severity, "no-directory", dir.display().to_string(), &what);
        self.world.note(&(root, PathBuf::new()), vec![finding]);
    }

    /// `force`: also files that look unchanged, because their times may be too coarse to tell.
    fn scan_below(&mut self, root: usize, below: &Path, force: bool) {
        let dir = self.config.roots[root].dir.clone();
        let mut found = Found::default();
        walk(&dir.join(below), 0, &mut found);
        let mut present = BTreeSet::new();
        for (path, signature) in found.files {
            let Ok(relative) = path.strip_prefix(&dir) else {
                continue;
            };
            let id = (root, relative.to_owned());
            if force || self.seen.get(&id) != Some(&signature) {
                self.load(&id, &path);
                self.seen.insert(id.clone(), signature);
            }
            present.insert(id);
        }
        let gone: Vec<FileId> = self.under(root, below).filter(|id| !present.contains(*id)).cloned().collect();
        for id in gone {
            let path = dir.join(&id.1);
            if !found.closed.iter().any(|(closed, _)| path.starts_with(closed)) {
                self.seen.remove(&id);
                self.world.remove(&id);
            }
        }
        for (path, error) in found.closed {
            let what = format!("cannot be read: {error}; what was last read of it stays in force");
            let at = path.display().to_string();
            if let Ok(relative) = path.strip_prefix(&dir) {
                let id = (root, relative.to_owned());
                self.world.note(&id, vec![finding(Severity::Error, "unreadable", at, &what)]);
                self.seen.insert(id, Signature::default());
            }
        }
    }

    fn under(&self, root: usize, below: &Path) -> impl Iterator<Item = &FileId> {
        self.seen
            .range((root, below.to_owned())..)
            .map(|(id, _)| id)
            .take_while(move |id| id.0 == root && id.1.starts_with(below))
    }

    fn load(&mut self, id: &FileId, path: &Path) {
        let root = &self.config.roots[id.0];
        let scope = Scope {
            cluster: &root.cluster,
            cluster_domain: &self.config.cluster_domain,
            root_namespace: &self.config.root_namespace,
            trust_domain: self.config.trust_domain.as_str(),
        };
        let name = path.display().to_string();
        match read(path) {
            Ok(text) => {
                let content = document::read(&scope, &name, &text);
                self.world.put(id, content);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.world.remove(id),
            Err(error) => self.world.keep(id, unreadable(name, &error)),
        }
    }
}

fn unreadable(at: String, error: &io::Error) -> Finding {
    let what = format!("cannot be read: {error}; what was last good of it stays in force");
    finding(Severity::Error, "unreadable", at, &what)
}

/// The text of a file, within bounds.
pub(super) fn read(path: &Path) -> io::Result<String> {
    text(fs::File::open(path)?)
}

/// The text of something, within bounds.
pub(super) fn text(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it is larger than {} MiB: split it", MAX_FILE >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8 text"))
    })
}

/// Every manifest at or below a path, also through links.
pub(super) fn walk(path: &Path, depth: usize, found: &mut Found) {
    let Ok(meta) = fs::metadata(path) else { return };
    if meta.is_file() && is_manifest(path) {
        found.files.push((path.to_owned(), signature(&meta)));
    }
    if !meta.is_dir() || depth > MAX_DEPTH {
        return;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return found.closed.push((path.to_owned(), error)),
    };
    for entry in entries.flatten() {
        if !is_hidden(Path::new(&entry.file_name())) {
            walk(&entry.path(), depth + 1, found);
        }
    }
}

fn signature(meta: &fs::Metadata) -> Signature {
    (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

/// Whether this is a manifest by its name. Editors' leftovers end in `~`, `.swp`, `.tmp` or hide.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(extension, "yaml" | "yml" | "json")
}

/// Whether a change here may be one of the whole root: the root itself, and `..data`, by which Kubernetes swaps all
/// files of a ConfigMap at once.
fn is_whole(below: &Path) -> bool {
    below.as_os_str().is_empty() || below.components().any(|part| starts(part.as_os_str(), ".."))
}

fn is_hidden(below: &Path) -> bool {
    below.components().any(|part| starts(part.as_os_str(), ".") || starts(part.as_os_str(), "#"))
}

fn starts(name: &std::ffi::OsStr, with: &str) -> bool {
    name.as_encoded_bytes().starts_with(with.as_bytes())
}
