//! Every service port with who governs it: `underpass routes`.

use super::{Unanswered, asked};
use crate::model::Workload;
use crate::route::attached::RouteSet;
use crate::route::backends::Port;
use crate::route::governing::governing;
use crate::route::{Binding, Frontend, RouteTable};
use crate::snapshot::Snapshot;
use crate::vocab::Namespace;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rows, for one client or, where none is said, for each namespace that is treated by itself.
///
/// # Errors
/// There is no such client.
pub fn list(snapshot: &Snapshot, source: Option<&str>) -> Result<Value, Unanswered> {
    let client = source.map(|source| asked::source(snapshot, source)).transpose()?;
    let table = &snapshot.routes;
    let mut frontends: Vec<_> = table.hosts.values().collect();
    frontends.sort_by_key(|frontend| frontend.backends().host().clone());
    let rows = frontends.into_iter().flat_map(|frontend| {
        let ports = frontend.backends().ports().iter();
        ports.flat_map(|port| match &client {
            Some(client) => vec![for_client(table, frontend, port, client)],
            None => for_all(table, frontend, port),
        })
    });
    Ok(rows.collect())
}

fn for_client(table: &RouteTable, frontend: &Frontend, port: &Port, client: &Workload) -> Value {
    let namespace = &client.id.pod.namespace;
    row(table, (frontend, port), namespace, &client.id.to_string(), frontend.backends().rule_of(client))
}

/// The service's own namespace stands for everyone; namespaces with rules of their own have a row of theirs.
fn for_all(table: &RouteTable, frontend: &Frontend, port: &Port) -> Vec<Value> {
    let backends = frontend.backends();
    let routes = frontend.attached().into_iter().flat_map(|all| all.sets());
    let consumers = routes.filter(|(number, ..)| *number == port.number()).filter_map(|(_, namespace, _)| namespace);
    let rules = frontend.candidates().iter().map(|one| &one.rules.id.namespace);
    let exported = backends.rules().iter().map(|rule| &rule.id.namespace);
    let special: BTreeSet<&Namespace> =
        consumers.chain(rules).chain(exported).filter(|namespace| *namespace != backends.namespace()).collect();
    let own = backends.namespace();
    let mut rows = vec![row(table, (frontend, port), own, "*", backends.rule(own))];
    for namespace in special {
        let of_theirs = row(table, (frontend, port), namespace, &format!("{namespace}/*"), backends.rule(namespace));
        let same = ["governedBy", "destinationRule"].iter().all(|key| of_theirs[key] == rows[0][key]);
        if !same {
            rows.push(of_theirs);
        }
    }
    rows
}

fn row(
    table: &RouteTable,
    (frontend, port): (&Frontend, &Port),
    namespace: &Namespace,
    clients: &str,
    rule: Option<&crate::model::DestinationRule>,
) -> Value {
    let governing = governing(table, frontend, port, namespace);
    let set = [governing.consumer, governing.producer].into_iter().flatten().next();
    let routed = governing.requests.or(governing.connections);
    let (by, how) = match (set, routed) {
        (_, None) => (Vec::new(), "service"),
        (Some(set), Some(binding)) if std::sync::Arc::ptr_eq(&set.binding, binding) => {
            let consumer = governing.consumer.is_some();
            (names(set), if consumer { "consumer route" } else { "producer route" })
        }
        (_, Some(binding)) => (vec![format!("VirtualService {}", binding.rules.id)], "virtual service"),
    };
    json!({
        "host": frontend.backends().host(),
        "port": port.number(),
        "protocol": port.whole.protocol,
        "clients": clients,
        "governedBy": by,
        "how": how,
        "routes": if governing.requests.is_some() { "requests" } else { "connections" },
        "rules": routed.map_or(0, |binding| count(binding, governing.requests.is_some())),
        "destinationRule": rule.map(|rule| rule.id.to_string()),
        "endpoints": port.whole.group.ready().len(),
        "unready": port.whole.group.unready(),
    })
}

fn names(set: &RouteSet) -> Vec<String> {
    set.routes.iter().map(ToString::to_string).collect()
}

fn count(binding: &Binding, requests: bool) -> usize {
    let rules = &binding.rules;
    if requests { rules.http.len() } else { rules.tls.len() + rules.tcp.len() }
}

/// The rows for people.
pub fn table(rows: &Value) -> String {
    const TITLES: [&str; 9] =
        ["HOST", "PORT", "PROTOCOL", "CLIENTS", "GOVERNED BY", "ROUTES", "RULES", "DESTINATION RULE", "ENDPOINTS"];
    const KEYS: [&str; 9] =
        ["host", "port", "protocol", "clients", "governedBy", "routes", "rules", "destinationRule", "endpoints"];
    let mut cells = vec![TITLES.map(str::to_owned).to_vec()];
    for row in rows.as_array().into_iter().flatten() {
        cells.push(KEYS.iter().map(|key| super::text::cell(&row[*key])).collect());
    }
    super::text::columns(&cells)
}
