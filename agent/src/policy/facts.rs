//! What is known when a decision is made: of the connection, and of a request on it.

use super::Peer;
use http::HeaderMap;
use serde_json::{Map, Value};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

/// A connection that wants in. Keep it as long as the connection: what is made for one decision is there for the next.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Who is at the other end.
    pub peer: &'a Peer,
    /// Where it comes from.
    pub source: IpAddr,
    /// The application's address and port.
    pub destination: SocketAddr,
    /// The name in the client's own TLS hello, if it has one, once that was read.
    pub sni: Option<Option<&'a str>>,
    principal: OnceLock<Box<str>>,
}

impl<'a> Connection<'a> {
    /// A connection of which no byte was looked at.
    pub fn new(peer: &'a Peer, source: IpAddr, destination: SocketAddr) -> Self {
        Self { peer, source: source.to_canonical(), destination, sni: None, principal: OnceLock::new() }
    }

    /// The same with the name of its TLS hello, or without one.
    pub fn with_sni(self, sni: Option<&'a str>) -> Self {
        Self { sni: Some(sni), ..self }
    }

    /// The proven identity in Istio's notation, without `spiffe://`.
    pub(super) fn principal(&self) -> Option<&str> {
        let identity = self.peer.identity()?;
        Some(self.principal.get_or_init(|| {
            let (domain, namespace) = (&identity.trust_domain, &identity.namespace);
            format!("{domain}/ns/{namespace}/sa/{}", identity.service_account).into()
        }))
    }
}

/// A request that wants in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path as the application understands it: normalised, without the query.
    pub path: &'a str,
    /// `Host` or `:authority`, with the port where the client says one.
    pub authority: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Where it comes from: behind the trusted proxies that `x-forwarded-for` names, else the connection's source.
    pub remote: IpAddr,
    /// What its token says. Only of one that was verified.
    pub token: Option<&'a Token>,
}

/// A verified token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Token {
    /// `<iss>/<sub>`.
    pub principal: String,
    /// `aud`, one or several.
    pub audiences: Vec<String>,
    /// `azp`.
    pub presenter: Option<String>,
    /// All claims. Those that are delimited by spaces (`scope`) are lists by now.
    pub claims: Map<String, Value>,
}

/// What is known of requests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'a> {
    /// Nothing: no byte was read.
    Nothing,
    /// There are none: it does not speak HTTP.
    Opaque,
    /// This one.
    Request(&'a Request<'a>),
}
