//! The Gateway API's routes of one Service, merged, as its clients meet them.

use super::Binding;
use crate::model::{RouteId, RouteKind};
use crate::vocab::{Hostname, Namespace};
use std::sync::Arc;

/// The routes that are attached to a Service.
#[derive(Debug)]
pub struct Attached {
    /// The Service.
    pub host: Hostname,
    /// Its ports that have routes, by number.
    pub ports: Box<[PortRoutes]>,
}

/// The routes of one port.
#[derive(Debug)]
pub struct PortRoutes {
    /// The port of the Service.
    pub number: u16,
    /// Those of the Service's own namespace, for every client.
    pub producer: Option<RouteSet>,
    /// Those of other namespaces, each for the clients of its own, in order of namespaces.
    pub consumers: Box<[(Namespace, RouteSet)]>,
}

/// Routes of one kind and one namespace, as one list of rules.
#[derive(Clone, Debug)]
pub struct RouteSet {
    /// Their kind.
    pub kind: RouteKind,
    /// Which, the oldest first.
    pub routes: Arc<[RouteId]>,
    /// Their rules in order of precedence, bound to where they lead.
    pub binding: Arc<Binding>,
}

impl Attached {
    /// The routes in force at a port for the clients of a namespace: their own before the Service's. The two are not
    /// merged.
    pub fn set(&self, port: u16, client: &Namespace) -> Option<&RouteSet> {
        let port = self.ports.iter().find(|routes| routes.number == port)?;
        let own = port.consumers.iter().find(|(namespace, _)| namespace == client);
        own.map(|(_, set)| set).or(port.producer.as_ref())
    }

    /// Every set, with its port and the namespace whose clients it is for.
    pub fn sets(&self) -> impl Iterator<Item = (u16, Option<&Namespace>, &RouteSet)> {
        self.ports.iter().flat_map(|port| {
            let consumers = port.consumers.iter().map(|(namespace, set)| (port.number, Some(namespace), set));
            port.producer.iter().map(|set| (port.number, None, set)).chain(consumers)
        })
    }
}
