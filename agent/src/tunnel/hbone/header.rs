//! The CONNECT request: where to, on whose behalf, in which trace.

use super::baggage::Baggage;
use crate::vocab::Hostname;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest `traceparent` passed on: version 00 has 55 bytes, later ones may have more.
const MAX_TRACEPARENT: usize = 128;

/// Where a tunnel leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A pod's (or a service's virtual) address and port.
    Address(SocketAddr),
    /// A service by name, as an east-west gateway is asked for it.
    Host(Hostname, u16),
}

/// A CONNECT request of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// `:authority`
    pub target: Target,
    /// `baggage`: what the source's agent says of it.
    pub baggage: Baggage,
    /// `forwarded: for=`: the client's address as the source's agent saw it. A claim.
    pub forwarded_for: Option<IpAddr>,
    /// `traceparent`, untouched.
    pub traceparent: Option<HeaderValue>,
}

/// A request that opens no tunnel.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidConnect {
    /// Another method.
    #[error("the method is {0}, not CONNECT")]
    NotConnect(Method),
    /// No address and port in `:authority`.
    #[error("`{0}` is neither address:port nor name:port")]
    BadTarget(String),
}

impl Connect {
    /// A request that says nothing but where to.
    pub fn new(target: Target) -> Self {
        Self { target, baggage: Baggage::default(), forwarded_for: None, traceparent: None }
    }

    /// The request to send. Errors: a host name that no URI can carry.
    pub fn encode(&self) -> Result<Request<()>, InvalidConnect> {
        let target = self.target.to_string();
        let uri = Uri::from_str(&target).map_err(|_| InvalidConnect::BadTarget(target))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        let forwarded = self.forwarded_for.and_then(encode_forwarded);
        for (name, value) in
            [(BAGGAGE, self.baggage.encode()), (FORWARDED, forwarded), (TRACEPARENT, self.traceparent.clone())]
        {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        Ok(request)
    }

    /// Reads a request; headers it does not know or understand are passed over.
    pub fn decode<T>(request: &Request<T>) -> Result<Self, InvalidConnect> {
        if request.method() != Method::CONNECT {
            return Err(InvalidConnect::NotConnect(request.method().clone()));
        }
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let headers = request.headers();
        Ok(Self {
            target: authority.parse()?,
            baggage: Self::baggage_of(headers),
            forwarded_for: headers.get(FORWARDED).and_then(decode_forwarded),
            traceparent: headers.get(TRACEPARENT).filter(|value| value.len() <= MAX_TRACEPARENT).cloned(),
        })
    }

    /// The baggage of a request or of a response (ztunnel's `ENABLE_RESPONSE_BAGGAGE`).
    pub(super) fn baggage_of(headers: &HeaderMap) -> Baggage {
        Baggage::decode(headers.get_all(BAGGAGE))
    }

    /// Adds baggage to a response.
    pub(super) fn add_baggage(headers: &mut HeaderMap, baggage: &Baggage) {
        if let Some(value) = baggage.encode() {
            headers.insert(BAGGAGE, value);
        }
    }
}

impl FromStr for Target {
    type Err = InvalidConnect;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidConnect::BadTarget(text.chars().take(128).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            return if address.port() == 0 { Err(bad()) } else { Ok(Self::Address(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        // An address that did not parse above, with its port, is no name either; and Rust's numbers may have a sign.
        let named = (1..=253).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
            && host.parse::<IpAddr>().is_err()
            && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port @ 1..) if named => Ok(Self::Host(host.to_ascii_lowercase().into(), port)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// RFC 7239, 6: an IPv6 address is bracketed and therefore quoted.
fn encode_forwarded(address: IpAddr) -> Option<HeaderValue> {
    let text = match address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    text.try_into().ok()
}

/// The first element's `for`: the client; later elements are proxies on the way. Bare IPv6 is
/// understood too, and a port is not kept.
fn decode_forwarded(value: &HeaderValue) -> Option<IpAddr> {
    let first = value.to_str().ok()?.split(',').next()?;
    let node = first.split(';').find_map(|pair| {
        let (name, node) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| node.trim().trim_matches('"'))
    })?;
    let bare = node.strip_prefix('[').and_then(|node| node.split_once(']')).map_or(node, |(address, _)| address);
    let address = bare.parse().ok().or_else(|| bare.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, InvalidConnect> {
        text.parse()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (to, client) in [("10.1.2.3:8080", "10.0.0.9"), ("[fd00::1]:80", "fd00::9"), ("web.shop.svc:443", "::1")] {
            let connect = Connect {
                target: target(to).unwrap(),
                baggage: Baggage { service: Some("web".into()), ..Baggage::default() },
                forwarded_for: Some(client.parse().unwrap()),
                traceparent: Some(HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
            };
            let request = connect.encode().unwrap();
            assert_eq!(request.uri().to_string(), to);
            assert_eq!(Connect::decode(&request).unwrap(), connect);
        }
    }

    #[test]
    fn targets_that_are_none_are_refused() {
        let none = ["", ":80", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "a b:80", "user@host:80", "[::1]", "a:b:80"];
        for text in none.into_iter().chain(["10.0.0.1:+80", "web:+80"]) {
            assert!(target(text).is_err(), "{text}");
        }
        assert!(target(&format!("{}:80", "x".repeat(300))).is_err());
        assert_eq!(target("[::ffff:10.0.0.1]:80").unwrap().to_string(), "10.0.0.1:80");
        assert_eq!(target("Web.SHOP:80").unwrap().to_string(), "web.shop:80");
    }

    #[test]
    fn forwarded_is_read_as_anyone_writes_it() {
        let cases = [
            ("for=10.0.0.1", Some("10.0.0.1")),
            ("For=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            ("for=2001:db8::1", Some("2001:db8::1")),
            ("proto=http; for=10.0.0.1:4711;by=10.0.0.2, for=10.0.0.3", Some("10.0.0.1")),
            ("for=_hidden", None),
            ("for=unknown", None),
            ("by=10.0.0.1", None),
            ("", None),
            ("for=\"[\"", None),
        ];
        for (text, expected) in cases {
            let read = decode_forwarded(&HeaderValue::from_str(text).unwrap()).map(|ip| ip.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn unknown_headers_do_no_harm_and_other_methods_are_told() {
        let mut request = Connect::new(target("10.0.0.1:80").unwrap()).encode().unwrap();
        request.headers_mut().insert("x-envoy-something", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        request.headers_mut().insert(TRACEPARENT, HeaderValue::from_str(&"a".repeat(4000)).unwrap());
        let read = Connect::decode(&request).unwrap();
        assert_eq!(read, Connect::new(target("10.0.0.1:80").unwrap()));
        *request.method_mut() = Method::POST;
        assert_eq!(Connect::decode(&request), Err(InvalidConnect::NotConnect(Method::POST)));
    }
}
