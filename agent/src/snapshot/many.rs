//! A map with several items under one key.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};
use std::hash::Hash;

/// Several items under one key, in order.
pub(super) struct Many<K, I, V>(HashMap<K, BTreeMap<I, V>>);

impl<K, I, V> Default for Many<K, I, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone, I: Ord + Clone, V> Many<K, I, V> {
    /// Sets an item, or takes it away.
    pub(super) fn set(&mut self, key: &K, item: &I, value: Option<V>) {
        match (value, self.0.entry(key.clone())) {
            (Some(value), entry) => {
                entry.or_default().insert(item.clone(), value);
            }
            (None, Entry::Occupied(mut entry)) => {
                entry.get_mut().remove(item);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
            (None, Entry::Vacant(_)) => {}
        }
    }

    /// The keys that have items.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// The items of a key.
    pub(super) fn iter(&self, key: &K) -> impl Iterator<Item = (&I, &V)> {
        self.0.get(key).into_iter().flatten()
    }

    /// The values of a key, in the order of their items.
    pub(super) fn values(&self, key: &K) -> impl Iterator<Item = &V> {
        self.iter(key).map(|(_, value)| value)
    }
}
