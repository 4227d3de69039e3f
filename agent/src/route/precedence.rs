//! Which rules are in force for a client at a port, where both APIs have some.
//!
//! For requests the first of these that has rules for them: a route (HTTPRoute, GRPCRoute) of the client's namespace, a
//! route of the service's namespace, a VirtualService. For connections likewise (TLSRoute, TCPRoute). So a port with a
//! route is not governed by a VirtualService, except that a route for connections leaves the requests of a port that
//! speaks HTTP to it.

use super::backends::Port;
use super::frontend::routes_requests;
use super::{Binding, Frontend, RouteTable};
use crate::vocab::Namespace;
use std::sync::Arc;

/// The rules in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct InForce<'a> {
    /// For requests, where they are routed one by one.
    pub(super) requests: Option<&'a Arc<Binding>>,
    /// For connections.
    pub(super) connections: Option<&'a Arc<Binding>>,
}

/// The rules in force at a port for clients of a namespace.
pub(super) fn in_force<'a>(
    table: &'a RouteTable,
    frontend: &'a Frontend,
    port: &Port,
    client: &Namespace,
) -> InForce<'a> {
    let rules = frontend.rules(client).and_then(|rules| table.bindings.get(&rules.id));
    let by_rule = rules.filter(|binding| routes_requests(&binding.rules, port.number(), port.whole.protocol));
    let Some(set) = frontend.routes(port.number(), client) else {
        return InForce { requests: by_rule, connections: rules };
    };
    // A route for requests takes them all: its port has no other rules.
    let requests = if set.kind.routes_requests() { Some(&set.binding) } else { by_rule };
    InForce { requests, connections: Some(&set.binding) }
}
