//! Istio's VirtualService, the part that is implemented.

use super::{Labels, ObjectId, Origin};
use crate::vocab::{Hostname, Namespace, SubsetName};
use ipnet::IpNet;
use regex::Regex;
use std::sync::Arc;

/// How a string is matched (Istio's StringMatch). Regular expressions match the whole string, as RE2 does in Envoy.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// The same string.
    Exact(Arc<str>),
    /// A string that starts so.
    Prefix(Arc<str>),
    /// A string that matches as a whole.
    Regex(Regex),
    /// Any string: the header only has to be there (an empty StringMatch).
    Present,
}

/// Patterns are the same where their text is.
impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present, Self::Present) => true,
            _ => false,
        }
    }
}

/// Conditions of which all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpMatch {
    /// On the path with its query (Istio matches `uri` on the path alone).
    pub uri: Option<StringMatch>,
    /// Whether `uri` exact and prefix ignore case.
    pub ignore_uri_case: bool,
    /// On the method.
    pub method: Option<StringMatch>,
    /// On headers by lower-case name.
    pub headers: Vec<(http::HeaderName, StringMatch)>,
    /// Headers that must not match.
    pub without_headers: Vec<(http::HeaderName, StringMatch)>,
    /// On the `Host` or `:authority`.
    pub authority: Option<StringMatch>,
    /// On the Service port.
    pub port: Option<u16>,
    /// On the client's labels.
    pub source_labels: Labels,
    /// On the client's namespace.
    pub source_namespace: Option<Namespace>,
}

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// The Service, fully qualified.
    pub host: Hostname,
    /// The subset, as a DestinationRule names it.
    pub subset: Option<SubsetName>,
    /// The Service port, where it differs from the one the client used.
    pub port: Option<u16>,
    /// Where it stands, for messages.
    pub origin: Origin,
}

/// A destination with its share. Shares are relative; one that has none where it is alone gets all.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Its share among its siblings.
    pub weight: u32,
}

/// One HTTP rule: the first whose matches hold (any of them; none means always) takes the request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// Its name, where given.
    pub name: Option<Arc<str>>,
    /// Any of these.
    pub matches: Vec<HttpMatch>,
    /// Where it goes; empty only where the rule is `broken`: then its requests get 500.
    pub route: Vec<WeightedDestination>,
    /// Why the rule cannot be applied as written (an unsupported action): requests that it takes fail closed with 500.
    pub broken: Option<Arc<str>>,
}

/// Conditions on a connection of which all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpMatch {
    /// The address that the client used.
    pub destination_subnets: Vec<IpNet>,
    /// The port that the client used.
    pub port: Option<u16>,
    /// On the client's labels.
    pub source_labels: Labels,
    /// On the client's namespace.
    pub source_namespace: Option<Namespace>,
}

/// One TCP rule.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRule {
    /// Any of these.
    pub matches: Vec<TcpMatch>,
    /// Where it goes; empty only where the rule is `broken`.
    pub route: Vec<WeightedDestination>,
    /// Why the rule cannot be applied as written: connections that it takes are refused.
    pub broken: Option<Arc<str>>,
}

/// A VirtualService that is bound to the mesh (gateway `mesh`).
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// The hosts, fully qualified; `*` prefixes allowed.
    pub hosts: Vec<Hostname>,
    /// Namespaces that see it; empty means all. `.` is already resolved.
    pub export_to: Vec<Namespace>,
    /// HTTP rules in order.
    pub http: Vec<HttpRule>,
    /// TCP rules in order.
    pub tcp: Vec<TcpRule>,
}
