//! How often each path was asked for, for tests of copies and repetitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

static SEEN: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Paths that are remembered; a load test with many keeps its memory.
const MOST: usize = 10_000;

/// Counts one more, and says how many there were with it.
pub fn count(what: &str) -> u64 {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() >= MOST && !seen.contains_key(what) {
        return 1;
    }
    let times = seen.entry(what.to_owned()).or_default();
    *times += 1;
    *times
}

/// All of them.
pub fn all() -> Value {
    json!(*SEEN.lock().unwrap_or_else(PoisonError::into_inner))
}
