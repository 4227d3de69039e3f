//! A cluster's objects: one file each, which is what its agents read.
//!
//! `<dir>/<namespace>/<kind>/<name>.yaml`; kinds without namespaces below `_cluster`; text that is no object below
//! `<namespace>/_unreadable`, so that the agents judge it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::document::{self, Document, Object};

const UNREADABLE: &str = "_unreadable";
const NO_NAMESPACE: &str = "_cluster";

/// The manifest directory of one cluster.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in this directory, made where absent.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self { dir })
    }

    /// Where the agents look.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of an object.
    pub fn path(&self, namespace: &str, kind: &str, name: &str) -> PathBuf {
        let namespace = if namespace.is_empty() { NO_NAMESPACE } else { namespace };
        self.dir.join(namespace).join(kind.to_lowercase()).join(format!("{name}.yaml"))
    }

    /// Writes a document under its own address; `fallback` names it where it has none.
    ///
    /// # Errors
    /// The file system's.
    pub fn put(&self, document: &Document, fallback: &str) -> Result<()> {
        write_whole(&self.path_of(document, fallback), document.text.as_bytes())
    }

    /// Writes an object of the lab's own making, unless it is there as it is.
    ///
    /// # Errors
    /// The file system's.
    pub fn put_value(&self, value: &Value) -> Result<()> {
        let document = document::generated(value.clone());
        let path = self.path_of(&document, "generated");
        if fs::read_to_string(&path).is_ok_and(|text| text == document.text) {
            return Ok(());
        }
        write_whole(&path, document.text.as_bytes())
    }

    /// Removes what [`Store::put`] wrote; whether there was something.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(&self, document: &Document, fallback: &str) -> Result<bool> {
        remove_if_there(&self.path_of(document, fallback))
    }

    /// Removes an object by address; whether it was there.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_object(&self, namespace: &str, kind: &str, name: &str) -> Result<bool> {
        remove_if_there(&self.path(namespace, kind, name))
    }

    /// Removes all objects of a namespace.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_namespace(&self, namespace: &str) -> Result<()> {
        let dir = self.dir.join(namespace);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        Ok(())
    }

    /// Every object of a kind, by namespace and name. Files that cannot be read as one are passed over.
    pub fn all(&self, kind: &str) -> Vec<Object> {
        let mut objects = Vec::new();
        for namespace in self.namespaces_and_cluster() {
            for file in entries(&namespace.join(kind.to_lowercase())) {
                let text = fs::read_to_string(&file).unwrap_or_default();
                objects.extend(document::split(&text).into_iter().filter_map(|document| document.object));
            }
        }
        objects
    }

    /// The namespaces that hold an object.
    pub fn namespaces(&self) -> Vec<String> {
        let names = self.namespaces_and_cluster().into_iter();
        let names = names.filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        names.filter(|name| name != NO_NAMESPACE).collect()
    }

    fn namespaces_and_cluster(&self) -> Vec<PathBuf> {
        entries(&self.dir).into_iter().filter(|path| path.is_dir()).collect()
    }

    fn path_of(&self, document: &Document, fallback: &str) -> PathBuf {
        match &document.object {
            Some(object) => self.path(&object.namespace, &object.kind, &object.name),
            None => self.path("default", UNREADABLE, fallback),
        }
    }
}

/// Writes a file so that a reader sees the old text or the new one, never a part.
///
/// # Errors
/// The file system's.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No `.yaml` at its end: the agents do not read it.
    let draft = dir.join(format!(".{name}.{}", std::process::id()));
    fs::write(&draft, bytes).with_context(|| draft.display().to_string())?;
    fs::rename(&draft, path).with_context(|| path.display().to_string())
}

fn remove_if_there(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut paths: Vec<PathBuf> = listed.filter(|path| !hidden(path)).collect();
    paths.sort();
    paths
}
