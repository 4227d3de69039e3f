//! Where a redirect sends the client.

use super::matching::{authority, scheme};
use super::path::{Part, PathEdit};
use crate::model::http_rule::{Redirect, RedirectPort};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;

/// A redirect, ready to be answered with.
#[derive(Clone, Debug)]
pub struct Redirection {
    /// Its status.
    pub status: StatusCode,
    scheme: Option<Arc<str>>,
    host: Option<Arc<str>>,
    port: RedirectPort,
    path: Option<PathEdit>,
}

impl Redirection {
    /// Makes a redirect ready.
    pub fn new(model: &Redirect) -> Self {
        Self {
            status: model.status,
            scheme: model.scheme.clone(),
            host: model.host.clone(),
            port: model.port,
            path: model.path.as_ref().map(PathEdit::new),
        }
    }

    /// The new address for a request that came for a service port; `part` is what the rule took of its path.
    ///
    /// Absolute, but for a request that says no host where none is given: its client has to know it.
    pub fn location(&self, request: &Parts, part: Part, used: u16) -> Option<HeaderValue> {
        let (path, query) = (request.uri.path(), request.uri.query());
        let target = match (&self.path, query) {
            (Some(edit), _) => edit.apply(path, query, part),
            (None, Some(query)) => format!("{path}?{query}"),
            (None, None) => path.to_owned(),
        };
        let own = authority(request);
        let Some(given) = self.host.as_deref().or(own) else {
            return HeaderValue::try_from(target).ok();
        };
        let scheme = self.scheme.as_deref().unwrap_or_else(|| scheme(request));
        let (host, written) = split(given);
        let port = self.port(written, used).filter(|port| !is_default(scheme, *port));
        let address = match port {
            Some(port) => format!("{scheme}://{host}:{port}{target}"),
            None => format!("{scheme}://{host}{target}"),
        };
        HeaderValue::try_from(address).ok()
    }

    fn port(&self, written: Option<u16>, used: u16) -> Option<u16> {
        match self.port {
            // A port that was the old scheme's default is not meant for the new one (Envoy drops it too).
            RedirectPort::AsWritten if self.host.is_none() && self.scheme.is_some() => {
                written.filter(|port| !matches!(port, 80 | 443))
            }
            RedirectPort::AsWritten => written,
            RedirectPort::Derived if self.scheme.is_some() => None,
            RedirectPort::OfScheme => None,
            RedirectPort::Derived | RedirectPort::OfRequest => Some(used),
            RedirectPort::Fixed(port) => Some(port),
        }
    }
}

/// A host with its port; an IPv6 address keeps its brackets.
fn split(authority: &str) -> (&str, Option<u16>) {
    let host_ends = authority.rfind(']').unwrap_or(0);
    match authority[host_ends..].rsplit_once(':') {
        Some((before, port)) => (&authority[..host_ends + before.len()], port.parse().ok()),
        None => (authority, None),
    }
}

fn is_default(scheme: &str, port: u16) -> bool {
    matches!((scheme, port), ("http", 80) | ("https", 443))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http_rule::PathChange;

    fn location(redirect: &Redirect, uri: &str, host: Option<&str>, used: u16) -> String {
        let mut request = http::Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(()).unwrap().into_parts().0;
        let location = Redirection::new(redirect).location(&request, Part::Start(2), used).unwrap();
        location.to_str().unwrap().to_owned()
    }

    fn redirect(scheme: Option<&str>, host: Option<&str>, port: RedirectPort, path: Option<PathChange>) -> Redirect {
        let (scheme, host) = (scheme.map(Arc::from), host.map(Arc::from));
        Redirect { status: StatusCode::FOUND, scheme, host, port, path }
    }

    #[test]
    fn the_port_is_the_one_that_is_asked_for_and_left_out_where_it_goes_without_saying() {
        use RedirectPort::{AsWritten, Derived, Fixed, OfRequest, OfScheme};
        for (scheme, host, port, own, used, address) in [
            (None, None, AsWritten, "h:8080", 8080, "http://h:8080"),
            (None, None, AsWritten, "h", 8080, "http://h"),
            (None, Some("new"), AsWritten, "h:8080", 8080, "http://new"),
            (None, Some("new:1"), AsWritten, "h:8080", 8080, "http://new:1"),
            (Some("https"), None, AsWritten, "h:80", 80, "https://h"),
            (Some("https"), None, AsWritten, "h:8080", 8080, "https://h:8080"),
            (None, None, Derived, "h", 8080, "http://h:8080"),
            (None, Some("new"), Derived, "h", 80, "http://new"),
            (Some("https"), None, Derived, "h:8080", 8080, "https://h"),
            (Some("http"), None, Derived, "h:8080", 8080, "http://h"),
            (None, None, OfScheme, "h:8080", 8080, "http://h"),
            (Some("https"), Some("new"), OfRequest, "h", 8080, "https://new:8080"),
            (None, Some("new:1"), OfRequest, "h", 80, "http://new"),
            (None, None, Fixed(8443), "h:80", 80, "http://h:8443"),
            (Some("https"), None, Fixed(443), "h", 80, "https://h"),
            (Some("https"), None, Fixed(80), "h", 80, "https://h:80"),
            (None, None, Fixed(81), "[::1]:80", 80, "http://[::1]:81"),
            (None, None, OfScheme, "[::1]", 80, "http://[::1]"),
        ] {
            let to = redirect(scheme, host, port, None);
            assert_eq!(location(&to, "/a/b?x=1", Some(own), used), format!("{address}/a/b?x=1"), "{to:?} {own}");
        }
    }

    #[test]
    fn the_path_is_changed_and_the_query_kept() {
        let to = |path| redirect(None, None, RedirectPort::AsWritten, Some(path));
        let prefix = || to(PathChange::PathPrefix("/new".into()));
        assert_eq!(location(&prefix(), "/a/b?x=1", Some("h"), 80), "http://h/new/b?x=1");
        assert_eq!(location(&to(PathChange::Full("/new".into())), "/a/b?x=1", Some("h"), 80), "http://h/new?x=1");
        assert_eq!(location(&prefix(), "https://own:1/a", Some("h"), 80), "https://own:1/new");
        assert_eq!(location(&prefix(), "/a", None, 80), "/new");
    }
}
