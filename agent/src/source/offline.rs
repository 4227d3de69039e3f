//! Manifests read once, outside an agent: named files, directories or standard input, for `analyze` and `explain`.
//!
//! The same reading as the agent's; beside it, everything that the documents declare, also of kinds that the data path
//! does not read: whether a name leads anywhere may depend on a Gateway or a Deployment.

use super::files::{self, Found};
use super::path::Path;
use super::world::World;
use super::yaml::{self, Node};
use super::{Config, Scope, Update, document, notes, split};
use crate::model::{ObjectId, Origin};
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// The name of standard input on the command line.
const STDIN: &str = "-";

/// The text of one file.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file as the user named it, for messages.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// What was named cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {path}")]
pub struct OfflineError {
    path: String,
    source: io::Error,
}

/// What the files say.
#[derive(Debug)]
pub struct Given {
    /// What an agent would make of them.
    pub update: Update,
    /// Every object, in order.
    pub declared: Vec<Declared>,
}

/// One object of any kind, as it is written.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The API group, empty for the core one.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace (`default` where none is said) and name.
    pub id: ObjectId,
    /// The whole object.
    pub value: Value,
    file: Arc<str>,
    root: Arc<Node>,
    path: Path,
}

impl Declared {
    /// Where the part at a JSON pointer stands, or the nearest part above it that exists.
    pub fn at(&self, pointer: &str) -> Origin {
        Origin(notes::at(&self.file, self.root.value_place_of(&self.path_of(pointer))).into())
    }

    /// Where the key of the part at a JSON pointer stands.
    pub fn key_at(&self, pointer: &str) -> Origin {
        Origin(notes::at(&self.file, self.root.place_of(&self.path_of(pointer))).into())
    }

    /// The text at a JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer).and_then(Value::as_str)
    }

    /// The items of the list at a JSON pointer.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn path_of(&self, pointer: &str) -> Path {
        pointer.split('/').skip(1).fold(self.path.clone(), |path, part| match part.parse() {
            Ok(index) => path.index(index),
            Err(_) => path.key(&part.replace("~1", "/").replace("~0", "~")),
        })
    }
}

/// The files that are meant by these names: files whatever their extension, every manifest below a directory, standard
/// input for `-`.
///
/// # Errors
/// One of them cannot be read.
pub fn gather(names: &[PathBuf]) -> Result<Vec<Text>, OfflineError> {
    let mut texts: Vec<Text> = Vec::new();
    for name in names {
        if name.as_os_str() == STDIN {
            let failed = |source| OfflineError { path: "standard input".to_owned(), source };
            texts.push(Text { name: STDIN.to_owned(), text: files::text(io::stdin()).map_err(failed)? });
            continue;
        }
        for path in below(name)? {
            let shown = path.display().to_string();
            if texts.iter().any(|known| known.name == shown) {
                continue;
            }
            let text = files::read(&path).map_err(|source| OfflineError { path: shown.clone(), source })?;
            texts.push(Text { name: shown, text });
        }
    }
    Ok(texts)
}

fn below(name: &std::path::Path) -> Result<Vec<PathBuf>, OfflineError> {
    let failed = |source| OfflineError { path: name.display().to_string(), source };
    if !std::fs::metadata(name).map_err(failed)?.is_dir() {
        return Ok(vec![name.to_owned()]);
    }
    let mut found = Found::default();
    files::walk(name, 0, &mut found);
    if let Some((path, source)) = found.closed.into_iter().next() {
        return Err(OfflineError { path: path.display().to_string(), source });
    }
    let mut paths: Vec<PathBuf> = found.files.into_iter().map(|(path, _)| path).collect();
    paths.sort();
    Ok(paths)
}

/// Reads the texts as the local cluster's manifests. Of an object that stands in several the first counts.
pub fn read_given(config: Config, texts: &[Text]) -> Given {
    let mut declared = Vec::new();
    let cluster = config.local.clone();
    let config = Config { roots: vec![super::Root { cluster: cluster.clone(), dir: PathBuf::new() }], ..config };
    let trust_domain = config.trust_domain.clone();
    let scope = Scope {
        cluster: &cluster,
        cluster_domain: &config.cluster_domain.clone(),
        root_namespace: &config.root_namespace.clone(),
        trust_domain: trust_domain.as_str(),
    };
    let mut world = World::new(config);
    for (at, Text { name, text }) in texts.iter().enumerate() {
        // The order on the command line decides which of two stands, so the names are numbers here.
        world.put(&(0, PathBuf::from(format!("{at:08}"))), document::read(&scope, name, text));
        declared.extend(declared_in(name, text));
    }
    Given { update: world.update().unwrap_or_default(), declared }
}

/// Every object of a file; what cannot be read is a finding of the other reading.
fn declared_in(name: &str, text: &str) -> Vec<Declared> {
    let file: Arc<str> = name.into();
    let roots = split::split(text).into_iter().filter_map(|part| yaml::parse(part.text, part.line).ok().flatten());
    roots
        .flat_map(|root| {
            let (value, root) = (root.to_value(), Arc::new(root));
            objects(value, Path::root()).into_iter().filter_map({
                let file = Arc::clone(&file);
                move |(value, path)| declare(value, path, (&file, &root))
            })
        })
        .collect()
}

fn objects(value: Value, path: Path) -> Vec<(Value, Path)> {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value.get("items").and_then(Value::as_array) {
        Some(items) if is_list => {
            let at = path.key("items");
            items.iter().enumerate().map(|(index, item)| (item.clone(), at.index(index))).collect()
        }
        _ => vec![(value, path)],
    }
}

fn declare(value: Value, path: Path, (file, root): (&Arc<str>, &Arc<Node>)) -> Option<Declared> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let (group, _) = text("/apiVersion")?.rsplit_once('/').unwrap_or_default();
    let (group, kind) = (group.to_owned(), text("/kind")?.to_owned());
    let id = ObjectId {
        namespace: text("/metadata/namespace").unwrap_or(document::DEFAULT_NAMESPACE).into(),
        name: text("/metadata/name")?.into(),
    };
    Some(Declared { group, kind, id, value, file: Arc::clone(file), root: Arc::clone(root), path })
}
