//! What nearness decides.

use super::{Reading, raw};
use crate::model::traffic_policy::{LocalityPolicy, LocalityShares};
use crate::source::path::Path;
use crate::source::quantity;
use std::sync::Arc;

impl Reading<'_, '_> {
    /// What `localityLbSetting` says; none where it is wrong.
    pub fn locality(&mut self, raw: &raw::LocalitySetting, path: &Path) -> Option<LocalityPolicy> {
        let said = [
            ("distribute", !raw.distribute.is_empty()),
            ("failover", !raw.failover.is_empty()),
            ("failoverPriority", !raw.failover_priority.is_empty()),
        ];
        let mut said = said.iter().filter(|(_, there)| *there).map(|(field, _)| *field);
        let (first, second) = (said.next(), said.next());
        if let (Some(first), Some(second)) = (first, second) {
            self.notes.error("conflict", &path.key(second), format!("stands beside `{first}`: keep one of them"));
            return None;
        }
        let before = self.notes.errors();
        let policy = match first {
            _ if raw.enabled == Some(false) => LocalityPolicy::Off,
            Some("distribute") => self.distribute(&raw.distribute, &path.key("distribute")),
            Some("failoverPriority") => self.priority(&raw.failover_priority, &path.key("failoverPriority")),
            _ => self.failover(&raw.failover, &path.key("failover")),
        };
        (self.notes.errors() == before).then_some(policy)
    }

    fn distribute(&mut self, raw: &[raw::Distribute], path: &Path) -> LocalityPolicy {
        let mut all: Vec<(Arc<str>, LocalityShares)> = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            self.pattern(&raw.from, &path.key("from"));
            if all.iter().any(|(from, _)| **from == *raw.from) {
                let what = format!("`{}` is here twice: put all of it in one", raw.from);
                self.notes.invalid("conflict", &path.key("from"), what);
            }
            let to_path = path.key("to");
            let mut to: LocalityShares = Vec::with_capacity(raw.to.len());
            for (locality, weight) in &raw.to {
                let path = to_path.key(locality);
                self.pattern(locality, &path);
                let weight = quantity::count(Some(*weight), 1..=100, &path, self.notes);
                to.extend(weight.map(|weight| (locality.as_str().into(), weight)));
            }
            let sum: u32 = to.iter().map(|(_, weight)| weight).sum();
            if to.len() == raw.to.len() && sum != 100 {
                self.notes.error(
                    "invalid-weight",
                    &to_path,
                    format!("the shares add up to {sum}: they have to make 100"),
                );
            }
            all.push((raw.from.as_str().into(), to));
        }
        LocalityPolicy::Distribute(all)
    }

    fn failover(&mut self, raw: &[raw::Failover], path: &Path) -> LocalityPolicy {
        let mut pairs = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            for (field, region) in [("from", &raw.from), ("to", &raw.to)] {
                if region.is_empty() || region.contains(['/', '*']) {
                    let what = format!("`{region}` is not a region: no `/`, and no wildcard");
                    self.notes.invalid("invalid-value", &path.key(field), what);
                }
            }
            if raw.from == raw.to {
                let what = format!("`{}` cannot fail over to itself: name another region", raw.to);
                self.notes.invalid("invalid-value", &path.key("to"), what);
            }
            pairs.push((raw.from.as_str().into(), raw.to.as_str().into()));
        }
        LocalityPolicy::Failover(pairs)
    }

    fn priority(&mut self, raw: &[String], path: &Path) -> LocalityPolicy {
        let mut labels: Vec<(Arc<str>, Option<Arc<str>>)> = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate() {
            let (key, value) = text.split_once('=').map_or((text.as_str(), None), |(key, value)| (key, Some(value)));
            if key.is_empty() {
                self.notes.invalid("invalid-value", &path.index(at), "is not a label: `key` or `key=value`");
            }
            labels.push((key.into(), value.map(Into::into)));
        }
        LocalityPolicy::FailoverPriority(labels)
    }

    /// `region/zone/subzone`, where `*` stands for the rest.
    fn pattern(&mut self, text: &str, path: &Path) {
        let parts: Vec<&str> = text.split('/').collect();
        let (last, before) = parts.split_last().unwrap_or((&"", &[]));
        let whole = |part: &&str| !part.is_empty() && !part.contains('*');
        if parts.len() > 3 || !before.iter().all(whole) || !(whole(last) || *last == "*") {
            let what = format!("`{text}` is not a locality: region/zone/subzone, or with `*` for the rest: region/*");
            self.notes.error("invalid-value", path, what);
        }
    }
}
