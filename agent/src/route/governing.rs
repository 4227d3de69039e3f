//! Who governs a port of a service for a client, for people who ask.

use super::attached::RouteSet;
use super::backends::Port;
use super::precedence::in_force;
use super::{Binding, Frontend, RouteTable};
use crate::model::VirtualService;
use crate::vocab::Namespace;
use std::sync::Arc;

/// The rules in force at a port, and everything that was asked before them, in order of precedence.
#[derive(Debug)]
pub struct Governing<'a> {
    /// Routes of the client's namespace, where that is not the service's.
    pub consumer: Option<&'a RouteSet>,
    /// Routes of the service's namespace.
    pub producer: Option<&'a RouteSet>,
    /// The VirtualService that the client sees.
    pub virtual_service: Option<&'a Arc<VirtualService>>,
    /// The rules for requests, where they are routed one by one.
    pub requests: Option<&'a Arc<Binding>>,
    /// The rules for connections.
    pub connections: Option<&'a Arc<Binding>>,
}

/// Who governs a port for clients of a namespace.
pub fn governing<'a>(table: &'a RouteTable, frontend: &'a Frontend, port: &Port, client: &Namespace) -> Governing<'a> {
    let routes = frontend.attached().and_then(|all| all.ports.iter().find(|routes| routes.number == port.number()));
    let consumers = routes.into_iter().flat_map(|routes| &routes.consumers);
    let in_force = in_force(table, frontend, port, client);
    Governing {
        consumer: consumers.into_iter().find(|(namespace, _)| namespace == client).map(|(_, set)| set),
        producer: routes.and_then(|routes| routes.producer.as_ref()),
        virtual_service: frontend.rules(client),
        requests: in_force.requests,
        connections: in_force.connections,
    }
}
