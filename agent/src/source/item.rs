//! What one document says, before it meets the others.

use super::kinds::ItemKind;
use super::notes::Notes;
use super::path::Path;
use super::pod::PodDraft;
use crate::model::{Finding, Labels, Locality, Object, ObjectId, Origin};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names an object within its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemKey {
    /// Its kind.
    pub kind: ItemKind,
    /// Its namespace (empty for Namespaces) and name.
    pub id: ObjectId,
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind.as_str(), self.id.name),
            _ => write!(f, "{} {}", self.kind.as_str(), self.id),
        }
    }
}

/// An object that a file names, with what came of it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Which object.
    pub key: ItemKey,
    /// `file:line:column`.
    pub at: Origin,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of reading an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It can be used as it is.
    Ready(Meaning),
    /// It cannot be used: what was last good stays in force.
    Refused,
    /// A policy that cannot be used: this one, which denies, takes its place. `scope_read` says whether its scope is
    /// the author's; otherwise the scope of what was last good is the better guess.
    Denies {
        /// The policy in its place.
        policy: Box<Object>,
        /// Whether its selector could be read.
        scope_read: bool,
    },
}

/// What an object means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// A namespace's labels.
    Namespace(Labels),
    /// Where a node is.
    Node(Locality),
    /// A pod, which its namespace has a say in.
    Pod(Box<PodDraft>),
    /// Anything that stands for itself.
    Object(Box<Object>),
    /// It is correct and has no effect in the mesh.
    Nothing,
}

impl Meaning {
    /// An object that stands for itself.
    pub fn object(object: Object) -> Self {
        Self::Object(Box::new(object))
    }
}

/// What a whole file says.
#[derive(Debug, Default)]
pub struct FileContent {
    /// Its objects, in order.
    pub items: Vec<Item>,
    /// What is to be said about it.
    pub findings: Vec<Finding>,
    /// Some part could not be read, so objects that were in it may still be meant: what is missing is not deleted.
    pub unreadable: bool,
    /// Objects of kinds that nobody knows: maybe a typo in one that was good, so that stays.
    pub of_unknown_kind: Vec<ObjectId>,
    /// How many objects were refused of which not even the kind is known.
    pub nameless: u64,
}

/// One object's raw content and who it is.
pub struct Raw<'a> {
    /// Its metadata.
    pub meta: &'a Metadata,
    /// Its namespace and name.
    pub id: ObjectId,
    /// The whole object.
    pub value: &'a Value,
    /// Where it is in its document.
    pub path: Path,
}

impl Raw<'_> {
    /// The part `name` (`spec`, `status`), an empty map where it is not given, and its path.
    pub fn part(&self, name: &str) -> (Value, Path) {
        let empty = || Value::Object(serde_json::Map::new());
        (self.value.get(name).cloned().unwrap_or_else(empty), self.path.key(name))
    }

    /// Where it stands.
    pub fn origin(&self, notes: &Notes<'_>) -> Origin {
        notes.origin(&self.path)
    }
}

/// The part of ObjectMeta that is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// The namespace; `default` where it is not said.
    pub namespace: Option<String>,
    /// The labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub creation_timestamp: Option<String>,
    /// The version of its `spec`.
    pub generation: Option<i64>,
    /// Who made it.
    pub owner_references: Vec<OwnerReference>,
}

/// Who made an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// Whether this is the one that manages the object.
    pub controller: bool,
}
