//! Why traffic goes where it goes: `underpass explain` and `underpass routes`, of an agent's snapshot or of files.
//!
//! Nothing is decided here. The rules in force are those that `route` names, and each condition is put to `route`'s own
//! matching by itself to say which of them did not hold.

mod action;
mod admission;
mod asked;
mod conditions;
mod offline;
mod policy;
mod routes;
mod rules;
mod text;

#[cfg(test)]
mod tests;

pub use offline::snapshot_of;
pub use routes::{list, table};
pub use text::text;

use crate::model::Workload;
use crate::route::backends::Port;
use crate::route::governing::{Governing, governing};
use crate::route::{Frontend, RouteTable};
use crate::snapshot::Snapshot;
use serde_json::{Value, json};
use std::sync::Arc;
use thiserror::Error;

/// A request, or a connection where no method is said, that may never have been.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The client: `[cluster/]namespace/name` of a pod or of what owns it; `default` where no namespace is said.
    pub source: String,
    /// The service: a name as the client would use it, or a virtual address, maybe with a port.
    pub destination: String,
    /// The method; none: GET.
    pub method: Option<String>,
    /// The path with its query; none: `/`.
    pub path: Option<String>,
    /// Headers as `name: value`.
    pub headers: Vec<String>,
}

/// What was asked has no answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unanswered {
    /// There is no such pod.
    #[error("no pod or workload is called {0}: say NAMESPACE/NAME, as `underpass workloads` lists them")]
    Source(String),
    /// There is no such service.
    #[error("no service is called {name} from namespace {namespace}; `underpass routes` lists them")]
    Destination {
        /// As it was asked.
        name: String,
        /// Of the client.
        namespace: String,
    },
    /// The service has no such port, or several.
    #[error("{host} has {ports}: say which, as HOST:PORT")]
    Port {
        /// The service.
        host: String,
        /// Those that it has.
        ports: String,
    },
    /// A part of the request is not one.
    #[error("{0}")]
    Request(String),
}

/// One client at one port of one service.
struct Case<'a> {
    table: &'a RouteTable,
    source: &'a Workload,
    frontend: &'a Frontend,
    port: &'a Port,
    governing: Governing<'a>,
}

/// Answers a question from a snapshot.
///
/// # Errors
/// It names something that is not there.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Value, Unanswered> {
    let table = &snapshot.routes;
    let source = asked::source(snapshot, &question.source)?;
    let (frontend, port) = asked::destination(table, &source, &question.destination)?;
    let request = asked::request(question, frontend)?;
    let governing = governing(table, frontend, port, &source.id.pod.namespace);
    let case = Case { table, source: &source, frontend, port, governing };
    let mut answer = case.answer(&request);
    answer["admission"] = admission::of(snapshot, &source, port).into();
    Ok(answer)
}

impl Case<'_> {
    fn answer(&self, request: &http::request::Parts) -> Value {
        let decision = match self.governing.requests {
            Some(binding) => self.requests(binding, request),
            None => self.connections(),
        };
        json!({
            "source": self.source.id.to_string(),
            "labels": self.source.labels,
            "host": self.frontend.backends().host(),
            "port": self.port.number(),
            "protocol": self.port.whole.protocol,
            "request": self.governing.requests.map(|_| json!({
                "method": request.method.as_str(),
                "target": request.uri.path_and_query().map_or("/", |target| target.as_str()),
            })),
            "precedence": self.precedence(),
            "rules": decision.rules,
            "outcome": decision.outcome,
        })
    }

    /// The four that are asked, with who of them is there and who is in force.
    fn precedence(&self) -> Vec<Value> {
        let Governing { consumer, producer, virtual_service, requests, connections } = &self.governing;
        let (client, service) = (&self.source.id.pod.namespace, self.frontend.backends().namespace());
        let chosen = |binding: &Arc<crate::route::Binding>| {
            [requests, connections].into_iter().flatten().any(|one| Arc::ptr_eq(one, binding))
        };
        let set = |set: &Option<&crate::route::attached::RouteSet>| {
            let objects: Vec<String> = set.iter().flat_map(|set| set.routes.iter()).map(ToString::to_string).collect();
            (objects, set.is_some_and(|set| chosen(&set.binding)))
        };
        let (consumers, by_consumer) = set(consumer);
        let (producers, by_producer) = set(producer);
        let bound = virtual_service.and_then(|rules| self.table.bindings.get(&rules.id));
        let by_rules = bound.is_some_and(chosen);
        let rules: Vec<String> = virtual_service.iter().map(|rules| rules.id.to_string()).collect();
        let row = |what: String, objects: Vec<String>, in_force: bool| json!({ "what": what, "objects": objects, "inForce": in_force });
        vec![
            row(format!("routes of the client's namespace {client}"), consumers, by_consumer),
            row(format!("routes of the service's namespace {service}"), producers, by_producer),
            row("VirtualService for the host".to_owned(), rules, by_rules),
            row("the service itself".to_owned(), Vec::new(), requests.is_none() && connections.is_none()),
        ]
    }
}

/// What came of the rules in force.
struct Decision {
    rules: Vec<Value>,
    outcome: Value,
}
