//! TCP and TLS rules.

use super::Reading;
use super::raw::{L4Match, Tcp, Tls};
use super::route::Rule;
use crate::model::{TcpMatch, TcpRule, TlsMatch, TlsRule};
use crate::source::name;
use crate::source::path::Path;
use crate::vocab::Hostname;

/// The TCP rules that hold in the mesh, in order.
pub fn tcp_rules(raw: &[Tcp], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<TcpRule> {
    let mut rules = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = path.index(index);
        let rule = Rule { list: "tcp", index, path: &path };
        if raw.route.is_empty() {
            reading.notes.error("missing-field", &path, "`route` is missing: say where the connections go");
        }
        let route = reading.route(&raw.route, rule);
        let broken = reading.broken.reason("tcp", index);
        let at = path.key("match");
        rules.extend(matches(&raw.r#match, &at, reading).map(|matches| TcpRule { matches, route, broken }));
    }
    rules
}

/// The TLS rules that hold in the mesh, in order.
pub fn tls_rules(raw: &[Tls], hosts: &[Hostname], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<TlsRule> {
    let mut rules = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = path.index(index);
        let rule = Rule { list: "tls", index, path: &path };
        for (field, empty) in [("match", raw.r#match.is_empty()), ("route", raw.route.is_empty())] {
            if empty {
                reading.notes.error(
                    "missing-field",
                    &path,
                    format!("`{field}` is missing: a tls rule has match and route"),
                );
            }
        }
        let matches = tls_matches(raw, hosts, &path.key("match"), reading);
        let route = reading.route(&raw.route, rule);
        let broken = reading.broken.reason("tls", index);
        // Those of a rule for gateways are all gone.
        if !matches.is_empty() {
            rules.push(TlsRule { matches, route, broken });
        }
    }
    rules
}

fn tls_matches(raw: &Tls, hosts: &[Hostname], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<TlsMatch> {
    let mut matches = Vec::with_capacity(raw.r#match.len());
    for (at, raw) in raw.r#match.iter().enumerate() {
        let path = path.index(at);
        if raw.sni_hosts.is_empty() {
            reading.notes.error("missing-field", &path, "`sniHosts` is missing: name what clients ask for");
        }
        let sni_hosts = reading.sni_hosts(&raw.sni_hosts, hosts, &path.key("sniHosts"));
        let raw = raw.connection();
        let connection = reading.l4_match(&raw, &path);
        if reading.holds_in_mesh(&raw.gateways) {
            matches.push(TlsMatch { sni_hosts, connection });
        }
    }
    matches
}

impl Reading<'_, '_> {
    /// Names that clients ask for, each below one of the hosts that the rules are for.
    fn sni_hosts(&mut self, raw: &[String], hosts: &[Hostname], path: &Path) -> Vec<Hostname> {
        let mut names = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate() {
            let path = path.index(at);
            let below = |host: &Hostname| match host.as_str().strip_prefix('*') {
                Some(suffix) => text.trim_start_matches('*').ends_with(suffix),
                None => host.as_str() == text,
            };
            match name::sni(text) {
                Err(what) => self.notes.invalid("invalid-host", &path, what),
                Ok(_) if !hosts.iter().any(below) => {
                    let all: Vec<&str> = hosts.iter().map(Hostname::as_str).collect();
                    let what = format!("`{text}` is none of the hosts that the rules are for ({})", all.join(", "));
                    self.notes.invalid("invalid-host", &path, what);
                }
                Ok(name) => names.push(name),
            }
        }
        names
    }
}

/// The conditions that can hold in the mesh; `None` where the rule is for gateways.
fn matches(raw: &[L4Match], path: &Path, reading: &mut Reading<'_, '_>) -> Option<Vec<TcpMatch>> {
    let mut matches = Vec::with_capacity(raw.len());
    for (at, raw) in raw.iter().enumerate() {
        let read = reading.l4_match(raw, &path.index(at));
        if reading.holds_in_mesh(&raw.gateways) {
            matches.push(read);
        }
    }
    let for_gateways = if raw.is_empty() { !reading.in_mesh } else { matches.is_empty() };
    (!for_gateways).then_some(matches)
}
