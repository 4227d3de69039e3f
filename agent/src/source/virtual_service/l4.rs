//! TCP rules, and TLS rules as far as they can be honoured: not at all, so what they take is refused.

use super::Reading;
use super::raw::L4;
use super::route::Rule;
use super::unsupported::refused;
use crate::model::{TcpMatch, TcpRule};
use crate::source::path::Path;

/// The TCP rules that hold in the mesh, in order.
pub fn tcp_rules(raw: &[L4], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<TcpRule> {
    let mut rules = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = path.index(index);
        let rule = Rule { list: "tcp", index, path: &path };
        if raw.route.is_empty() {
            reading.notes.error("missing-field", &path, "`route` is missing: say where the connections go");
        }
        let route = reading.route(&raw.route, rule);
        let broken = reading.broken.reason("tcp", index);
        rules.extend(matches(raw, &path, reading).map(|matches| TcpRule { matches, route, broken }));
    }
    rules
}

/// A TLS rule tells connections apart by the server name that the client asks for, which is not read yet: every
/// connection that its other conditions fit is refused, so that none goes where it was not meant to.
pub fn tls_rules(raw: &[L4], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<TcpRule> {
    let mut rules = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = path.index(index);
        let Some(matches) = matches(raw, &path, reading) else {
            continue;
        };
        reading.notes.error("unsupported-field", &path, refused("tls"));
        reading.broken.add("tls", index, "tls rules are not supported".to_owned(), 1);
        rules.push(TcpRule { matches, route: Vec::new(), broken: reading.broken.reason("tls", index) });
    }
    rules
}

/// The conditions that can hold in the mesh; `None` where the rule is for gateways.
fn matches(raw: &L4, path: &Path, reading: &mut Reading<'_, '_>) -> Option<Vec<TcpMatch>> {
    let path = path.key("match");
    let mut matches = Vec::with_capacity(raw.r#match.len());
    for (at, raw) in raw.r#match.iter().enumerate() {
        let read = reading.l4_match(raw, &path.index(at));
        if reading.holds_in_mesh(&raw.gateways) {
            matches.push(read);
        }
    }
    let for_gateways = if raw.r#match.is_empty() { !reading.in_mesh } else { matches.is_empty() };
    (!for_gateways).then_some(matches)
}
