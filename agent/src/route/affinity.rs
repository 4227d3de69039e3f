//! What a request's consistent hash is of: a header, a cookie, a query parameter, the client.

use crate::balance::hash;
use crate::model::traffic_policy::{HashCookie, HashKey};
use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// What keeps a client at its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// For [`crate::balance::Caller`]; none: any endpoint.
    pub hash: Option<u64>,
    /// A cookie that the response has to set.
    pub set_cookie: Option<HeaderValue>,
}

/// What a request has of a key.
pub fn of_request(key: &HashKey, request: &Parts, client: IpAddr) -> Affinity {
    let hash = match key {
        HashKey::Header(name) => of_header(name, request),
        HashKey::SourceIp => Some(of_client(client)),
        HashKey::QueryParameter(name) => parameter(name, request).map(|value| hash(value.as_bytes())),
        HashKey::Cookie(made) => match cookie(&made.name, request) {
            Some(value) => Some(hash(value.as_bytes())),
            None => return new_cookie(made),
        },
    };
    Affinity { hash, set_cookie: None }
}

/// A client's hash, without its port.
pub fn of_client(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    }
}

/// All values of a header, in whatever order they come. HTTP/2 says the host by other means.
fn of_header(name: &HeaderName, request: &Parts) -> Option<u64> {
    let values = request.headers.get_all(name).iter();
    let sum = values.map(|value| hash(value.as_bytes())).reduce(u64::wrapping_add);
    let authority = || request.uri.authority().filter(|_| *name == HOST).map(|one| hash(one.as_str().as_bytes()));
    sum.or_else(authority)
}

fn parameter<'a>(name: &str, request: &'a Parts) -> Option<&'a str> {
    let mut pairs = request.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn cookie<'a>(name: &str, request: &'a Parts) -> Option<&'a str> {
    let lines = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

/// A cookie that a client without one gets, with what the next request will hash to. Its value says nothing of the
/// client: many are behind one address.
fn new_cookie(made: &HashCookie) -> Affinity {
    let Some(ttl) = made.ttl else {
        return Affinity::default();
    };
    let value = format!("{:016x}", fastrand::u64(..));
    Affinity { hash: Some(hash(value.as_bytes())), set_cookie: set_cookie(made, ttl, &value) }
}

fn set_cookie(made: &HashCookie, ttl: Duration, value: &str) -> Option<HeaderValue> {
    let mut text = format!("{}={value}", made.name);
    if !ttl.is_zero() {
        // Writing to a String cannot fail.
        let _ = write!(text, "; Max-Age={}", ttl.as_secs().max(1));
    }
    if let Some(path) = &made.path {
        let _ = write!(text, "; Path={path}");
    }
    for attribute in &made.attributes {
        let _ = write!(text, "; {attribute}");
    }
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(http::Request::get(uri), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn hash_of(key: &HashKey, uri: &str, headers: &[(&str, &str)]) -> Option<u64> {
        of_request(key, &request(uri, headers), CLIENT).hash
    }

    #[test]
    fn a_header_a_parameter_or_the_client_is_hashed() {
        let of = |text: &str| Some(hash(text.as_bytes()));
        let user = HashKey::Header(HeaderName::from_static("x-user"));
        assert_eq!(hash_of(&user, "/", &[("x-user", "ann")]), of("ann"));
        assert_eq!(hash_of(&user, "/", &[]), None);
        let twice = hash_of(&user, "/", &[("x-user", "ann"), ("x-user", "bob")]);
        assert_eq!(twice, hash_of(&user, "/", &[("x-user", "bob"), ("x-user", "ann")]));
        assert_ne!(twice, of("ann"));
        assert_eq!(hash_of(&HashKey::Header(HOST), "http://books/", &[]), of("books"));

        let id = HashKey::QueryParameter("id".into());
        assert_eq!(hash_of(&id, "/a?x=1&id=7&id=8", &[]), of("7"));
        assert_eq!(hash_of(&id, "/a?xid=1", &[]), None);
        assert_eq!(hash_of(&id, "/a?id", &[]), of(""));

        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(hash_of(&HashKey::SourceIp, "/", &[]), Some(of_client(mapped)));
    }

    #[test]
    fn a_cookie_is_made_once_and_then_followed() {
        let made = |ttl: Option<u64>| {
            let attributes = vec!["SameSite=Strict".into()];
            let ttl = ttl.map(Duration::from_secs);
            HashKey::Cookie(HashCookie { name: "user".into(), path: Some("/shop".into()), ttl, attributes })
        };
        let first = of_request(&made(Some(60)), &request("/", &[("cookie", "superuser=1; other=2")]), CLIENT);
        let set = first.set_cookie.unwrap().to_str().unwrap().to_owned();
        let (pair, rest) = set.split_once(';').unwrap();
        assert_eq!(rest, " Max-Age=60; Path=/shop; SameSite=Strict; HttpOnly");
        let next = of_request(&made(Some(60)), &request("/", &[("cookie", "a=b"), ("cookie", pair)]), CLIENT);
        assert_eq!(next, Affinity { hash: first.hash, set_cookie: None });

        let session = of_request(&made(Some(0)), &request("/", &[]), CLIENT).set_cookie.unwrap();
        assert!(!session.to_str().unwrap().contains("Max-Age"), "{session:?}");
        assert_eq!(of_request(&made(None), &request("/", &[]), CLIENT), Affinity::default());
    }
}
