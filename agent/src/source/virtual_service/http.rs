//! HTTP rules.

use super::Reading;
use super::raw::Http;
use super::route::Rule;
use crate::model::HttpRule;
use crate::source::path::Path;

/// The rules that hold in the mesh, in order.
pub fn rules(raw: &[Http], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<HttpRule> {
    raw.iter().enumerate().filter_map(|(at, raw)| rule(raw, at, &path.index(at), reading)).collect()
}

fn rule(raw: &Http, index: usize, path: &Path, reading: &mut Reading<'_, '_>) -> Option<HttpRule> {
    let rule = Rule { list: "http", index, path };
    if raw.route.is_empty() && reading.broken.reason("http", index).is_none() {
        reading.notes.error("missing-field", path, "`route` is missing: say where the requests go");
    }
    let route = reading.route(&raw.route, rule);
    let matches_path = path.key("match");
    let mut matches = Vec::with_capacity(raw.r#match.len());
    for (at, raw) in raw.r#match.iter().enumerate() {
        let read = reading.http_match(raw, &matches_path.index(at));
        if reading.holds_in_mesh(&raw.gateways) {
            matches.push(read);
        }
    }
    // No condition left of several is not the same as no condition: the rule is for gateways.
    let for_gateways = if raw.r#match.is_empty() { !reading.in_mesh } else { matches.is_empty() };
    if for_gateways {
        return None;
    }
    let name = (!raw.name.is_empty()).then(|| raw.name.as_str().into());
    let (broken, origin) = (reading.broken.reason("http", index), reading.notes.origin(path));
    Some(HttpRule { name, broken, ..HttpRule::forward(matches, route, origin) })
}
