//! All files together: which object stands, what its surroundings make of it, and what changed.

use super::authorization_policy;
use super::item::{FileContent, Item, ItemKey, Meaning, Outcome};
use super::kinds::ItemKind;
use super::notes::finding;
use super::peer_authentication::denying;
use super::pod::{Surroundings, network_of};
use super::{Config, Counts, Update};
use crate::model::{Change, Finding, Kind, Labels, Locality, Object, ObjectId, ObjectKey, Origin, Severity};
use crate::vocab::{ClusterName, Namespace, NetworkName, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A file, by the number of its root and its path below that; also the order in which duplicates stand.
pub type FileId = (usize, PathBuf);

type Key = (ClusterName, ItemKey);

#[derive(Clone, Debug)]
struct Slot {
    at: Origin,
    accepted: bool,
    /// What is in force, the last good content where the present one is refused.
    meaning: Option<Meaning>,
}

#[derive(Debug, Default)]
struct File {
    slots: BTreeMap<ItemKey, Slot>,
    counts: Counts,
}

/// Everything that was read, and what was told of it.
#[derive(Debug)]
pub struct World {
    config: Config,
    files: BTreeMap<FileId, File>,
    findings: BTreeMap<FileId, Vec<Finding>>,
    holders: BTreeMap<Key, BTreeSet<FileId>>,
    contested: BTreeSet<Key>,
    touched: BTreeSet<Key>,
    published: BTreeMap<ObjectKey, Object>,
    counts: Counts,
    /// Whether anything was said since the last update.
    dirty: bool,
    told: Option<(Vec<Finding>, Counts)>,
}

impl World {
    /// A world without files.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            files: BTreeMap::new(),
            findings: BTreeMap::new(),
            holders: BTreeMap::new(),
            contested: BTreeSet::new(),
            touched: BTreeSet::new(),
            published: BTreeMap::new(),
            counts: Counts::default(),
            dirty: true,
            told: None,
        }
    }

    /// A file has this content now.
    pub fn put(&mut self, id: &FileId, content: FileContent) {
        let FileContent { items, findings, unreadable, of_unknown_kind, nameless } = content;
        let old = self.files.remove(id).unwrap_or_default();
        let mut new = File::default();
        if nameless > 0 {
            new.counts.refuse("unknown", nameless);
        }
        let mut repeated = Vec::new();
        for item in items {
            if let Some(first) = new.slots.get(&item.key) {
                repeated.push(duplicate(&item.key, &item.at, &first.at));
                new.counts.refuse(item.key.kind.as_str(), 1);
                continue;
            }
            new.take(item, &old);
        }
        for (key, slot) in &old.slots {
            let kept = unreadable || of_unknown_kind.contains(&key.id);
            if kept && !new.slots.contains_key(key) {
                new.slots.insert(key.clone(), lost(key, slot));
            }
        }
        self.note(id, findings.into_iter().chain(repeated).collect());
        self.replace(id, &old, new);
    }

    /// A file cannot be read at all: what it held stays, its policies deny.
    pub fn keep(&mut self, id: &FileId, why: Finding) {
        let content = FileContent { findings: vec![why], unreadable: true, nameless: 1, ..FileContent::default() };
        self.put(id, content);
    }

    /// A file is gone.
    pub fn remove(&mut self, id: &FileId) {
        let old = self.files.remove(id).unwrap_or_default();
        self.findings.remove(id);
        self.replace(id, &old, File::default());
        self.files.remove(id);
    }

    /// What is to be said about something that is no file, such as a root; an empty list takes it back.
    pub fn note(&mut self, id: &FileId, findings: Vec<Finding>) {
        self.dirty = true;
        match findings.is_empty() {
            true => self.findings.remove(id),
            false => self.findings.insert(id.clone(), findings),
        };
    }

    fn replace(&mut self, id: &FileId, old: &File, new: File) {
        self.dirty = true;
        let cluster = self.config.roots[id.0].cluster.clone();
        for key in old.slots.keys().chain(new.slots.keys()) {
            let here = new.slots.contains_key(key);
            let key = (cluster.clone(), key.clone());
            let holders = self.holders.entry(key.clone()).or_default();
            if here {
                holders.insert(id.clone())
            } else {
                holders.remove(id)
            };
            let several = holders.len() > 1;
            if holders.is_empty() {
                self.holders.remove(&key);
            }
            if several {
                self.contested.insert(key.clone())
            } else {
                self.contested.remove(&key)
            };
            self.touched.insert(key);
        }
        self.counts.subtract(&old.counts);
        self.counts.add(&new.counts);
        self.files.insert(id.clone(), new);
    }

    /// What changed since the last time; `None` where nothing did. The first time there is always something.
    pub fn update(&mut self) -> Option<Update> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.spread();
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            changes.extend(self.change(&key));
        }
        let mut findings: Vec<Finding> = self.findings.values().flatten().cloned().collect();
        let mut counts = self.counts.clone();
        self.judge_duplicates(&mut findings, &mut counts);
        let now = (findings, counts);
        if changes.is_empty() && self.told.as_ref() == Some(&now) {
            return None;
        }
        let (findings, counts) = now.clone();
        self.told = Some(now);
        Some(Update { changes, findings, counts })
    }

    /// A namespace that changed changes its pods; the root namespace names the network of all of them.
    fn spread(&mut self) {
        let namespaces: Vec<Key> =
            self.touched.iter().filter(|key| key.1.kind == ItemKind::Namespace).cloned().collect();
        for (cluster, namespace) in namespaces {
            let whole = *namespace.id.name == *self.config.root_namespace;
            let first = if whole { "" } else { &*namespace.id.name };
            let from = (cluster.clone(), pod_key(first));
            let pods = self.holders.range(from..).map(|(key, _)| key).take_while(|(other, key)| {
                let pod = *other == cluster && key.kind == ItemKind::Mesh(Kind::Workload);
                pod && (whole || key.id.namespace.as_str() == first)
            });
            let pods: Vec<Key> = pods.cloned().collect();
            self.touched.extend(pods);
        }
        self.spread_nodes();
    }

    /// A node that changed its place changes the place of its pods.
    fn spread_nodes(&mut self) {
        let nodes: BTreeSet<(&ClusterName, &str)> = self.touched.iter().filter_map(node_of).collect();
        if nodes.is_empty() {
            return;
        }
        let on_one = |(cluster, key): &Key| match self.meaning(cluster, key) {
            Some(Meaning::Pod(draft)) => nodes.contains(&(cluster, draft.node().as_str())),
            _ => false,
        };
        let pods = self.holders.keys().filter(|(_, key)| key.kind == ItemKind::Mesh(Kind::Workload));
        let moved: Vec<Key> = pods.filter(|key| on_one(key)).cloned().collect();
        self.touched.extend(moved);
    }

    fn change(&mut self, (cluster, key): &Key) -> Option<Change> {
        let ItemKind::Mesh(kind) = key.kind else {
            return None;
        };
        let object_key = ObjectKey { cluster: cluster.clone(), kind, id: key.id.clone() };
        let Some(object) = self.object(cluster, key) else {
            return self.published.remove(&object_key).map(|_| Change::Remove(object_key));
        };
        if self.published.get(&object_key) == Some(&object) {
            return None;
        }
        self.published.insert(object_key.clone(), object.clone());
        Some(Change::Upsert(object_key, object))
    }

    fn object(&self, cluster: &ClusterName, key: &ItemKey) -> Option<Object> {
        match self.meaning(cluster, key)? {
            Meaning::Object(object) => Some((**object).clone()),
            Meaning::Pod(draft) => {
                let network = self.network(cluster);
                let around = Surroundings {
                    cluster,
                    network: &network,
                    trust_domain: &self.config.trust_domain,
                    namespace: self.namespace(cluster, draft.namespace()),
                    node: self.node(cluster, draft.node()),
                };
                Some(Object::Workload(draft.place(&around)))
            }
            Meaning::Namespace(_) | Meaning::Node(_) | Meaning::Nothing => None,
        }
    }

    fn meaning(&self, cluster: &ClusterName, key: &ItemKey) -> Option<&Meaning> {
        let holder = self.holders.get(&(cluster.clone(), key.clone()))?.first()?;
        self.files.get(holder)?.slots.get(key)?.meaning.as_ref()
    }

    fn namespace(&self, cluster: &ClusterName, name: &Namespace) -> Option<&Labels> {
        let id = ObjectId { namespace: "".into(), name: name.as_str().into() };
        match self.meaning(cluster, &ItemKey { kind: ItemKind::Namespace, id })? {
            Meaning::Namespace(labels) => Some(labels),
            _ => None,
        }
    }

    fn node(&self, cluster: &ClusterName, name: &NodeName) -> Option<&Locality> {
        let id = ObjectId { namespace: "".into(), name: name.as_str().into() };
        match self.meaning(cluster, &ItemKey { kind: ItemKind::Node, id })? {
            Meaning::Node(locality) => Some(locality),
            _ => None,
        }
    }

    fn network(&self, cluster: &ClusterName) -> NetworkName {
        let said = network_of(self.namespace(cluster, &self.config.root_namespace.as_str().into()));
        said.unwrap_or_else(|| self.config.network.clone())
    }

    fn judge_duplicates(&self, findings: &mut Vec<Finding>, counts: &mut Counts) {
        for key in &self.contested {
            let mut slots = self.slots(key);
            let Some(first) = slots.next() else { continue };
            let others: Vec<&Slot> = slots.collect();
            findings.extend(others.iter().map(|slot| duplicate(&key.1, &slot.at, &first.at)));
            let accepted = others.iter().filter(|slot| slot.accepted).count();
            (0..accepted).for_each(|_| counts.revoke(key.1.kind.as_str()));
        }
    }

    /// What the files say of an object, in the order in which it stands.
    fn slots(&self, key: &Key) -> impl Iterator<Item = &Slot> {
        let holders = self.holders.get(key).into_iter().flatten();
        let item = key.1.clone();
        holders.filter_map(move |id| self.files.get(id)?.slots.get(&item))
    }
}

impl File {
    fn take(&mut self, item: Item, old: &Self) {
        let Item { key, at, outcome } = item;
        let before = old.slots.get(&key).and_then(|slot| slot.meaning.clone());
        let accepted = matches!(outcome, Outcome::Ready(_));
        match accepted {
            true => self.counts.accept(key.kind.as_str()),
            false => self.counts.refuse(key.kind.as_str(), 1),
        }
        let meaning = match outcome {
            Outcome::Ready(meaning) => Some(meaning),
            Outcome::Refused => before,
            Outcome::Denies { mut policy, scope_read } => {
                if let (false, Some(Meaning::Object(before))) = (scope_read, &before) {
                    keep_scope(&mut policy, before);
                }
                Some(Meaning::Object(policy))
            }
        };
        self.slots.insert(key, Slot { at, accepted, meaning });
    }
}

/// Gives a policy the scope of what was last good.
fn keep_scope(policy: &mut Object, before: &Object) {
    match (policy, before) {
        (Object::PeerAuthentication(policy), Object::PeerAuthentication(before)) => {
            policy.scope = before.scope.clone();
        }
        (Object::AuthorizationPolicy(policy), Object::AuthorizationPolicy(before)) => {
            policy.selection = before.selection.clone();
        }
        (Object::RequestAuthentication(policy), Object::RequestAuthentication(before)) => {
            policy.selection = before.selection.clone();
        }
        _ => {}
    }
}

/// What stays of an object whose part of the file cannot be read: itself, or a policy that denies where it was one.
fn lost(key: &ItemKey, slot: &Slot) -> Slot {
    let mut slot = Slot { accepted: false, ..slot.clone() };
    if let Some(Meaning::Object(object)) = &mut slot.meaning {
        match &mut **object {
            Object::PeerAuthentication(policy) => *policy = denying(&key.id, slot.at.clone(), policy.scope.clone()),
            Object::AuthorizationPolicy(policy) => authorization_policy::deny(policy),
            Object::RequestAuthentication(policy) => policy.rules = None,
            _ => {}
        }
    }
    slot
}

fn duplicate(key: &ItemKey, at: &Origin, first: &Origin) -> Finding {
    let what = format!("{key} stands in {first} too, and that one is used: remove one");
    finding(Severity::Error, "duplicate-object", at.to_string(), &what)
}

fn node_of((cluster, key): &Key) -> Option<(&ClusterName, &str)> {
    (key.kind == ItemKind::Node).then_some((cluster, &*key.id.name))
}

fn pod_key(namespace: &str) -> ItemKey {
    let id = ObjectId { namespace: namespace.into(), name: "".into() };
    ItemKey { kind: ItemKind::Mesh(Kind::Workload), id }
}
