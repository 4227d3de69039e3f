//! A connection of bytes through a forward proxy (DestinationRule's `tunnel`).

use std::sync::Arc;

/// Where a proxy is to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyTunnel {
    /// How it is asked.
    pub method: ProxyMethod,
    /// A name or an address; an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

/// How a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyMethod {
    /// CONNECT.
    Connect,
    /// POST, whose bodies are the bytes.
    Post,
}

impl ProxyTunnel {
    /// `HOST:PORT`, as requests have it.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}
