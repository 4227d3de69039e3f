//! What becomes of a request that may come in, before the application gets it.

use super::edits::Edits;
use crate::model::request_authentication::Location;
use crate::token;
use crate::vocab::SpiffeId;
use ::http::header::HOST;
use ::http::request::Parts;
use ::http::{HeaderName, HeaderValue, Version};
use std::borrow::Cow;
use std::sync::Arc;

/// Who the client is, as Istio tells it to applications. Only ever what was proven here.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What was decided about a request, and the changes to it.
#[derive(Debug, Default)]
pub struct Changes {
    /// Tokens that the application does not get.
    pub take: Vec<Location>,
    /// Headers that only the mesh sets.
    pub remove: Vec<HeaderName>,
    /// Headers that are set, in place of what the client sent.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// What external authorizers ask for.
    pub edits: Edits,
    /// Whether [`Changes::shape`] changes the request.
    pub shape_it: bool,
    /// Who the client proved to be.
    client: Option<HeaderValue>,
    /// What policies say that decide nothing.
    pub told: Option<Arc<str>>,
}

impl Changes {
    /// The request as policies see it: with what the mesh says of it, and without what only the mesh may say.
    pub fn seen<'a>(&mut self, request: &'a Parts) -> Cow<'a, Parts> {
        let said = !self.take.is_empty() || !self.remove.is_empty() || !self.set.is_empty();
        let forged = request.headers.contains_key(CLIENT_CERT);
        let both = request.uri.authority().is_some() && request.headers.contains_key(HOST);
        self.shape_it |= said || forged || both || !self.edits.leave_request();
        if !self.shape_it {
            return Cow::Borrowed(request);
        }
        let mut seen = request.clone();
        self.shape(&mut seen);
        Cow::Owned(seen)
    }

    /// Makes the request what the application is to see.
    pub fn shape(&self, request: &mut Parts) {
        self.take.iter().for_each(|location| token::take(request, location));
        request.headers.remove(CLIENT_CERT);
        one_authority(request);
        for name in &self.remove {
            request.headers.remove(name);
        }
        for (name, value) in &self.set {
            request.headers.insert(name.clone(), value.clone());
        }
        if let Some(client) = &self.client {
            request.headers.insert(CLIENT_CERT, client.clone());
        }
        self.edits.shape(&mut request.headers, &mut request.uri);
    }

    /// Says who the client proved to be.
    pub fn name_client(&mut self, by: &SpiffeId, client: &SpiffeId) {
        if let Ok(value) = HeaderValue::try_from(format!("By={by};URI={client}")) {
            self.client = Some(value);
            self.shape_it = true;
        }
    }
}

/// The authority that was decided about is the only one that the application gets (RFC 9112 section 3.2.2).
fn one_authority(request: &mut Parts) {
    let Some(authority) = request.uri.authority() else { return };
    if request.version == Version::HTTP_2 {
        request.headers.remove(HOST);
    } else if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers.insert(HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = ::http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_a_client_forges_is_gone() {
        let (pod, peer) = ("spiffe://d/ns/a/sa/pod".parse().unwrap(), "spiffe://d/ns/a/sa/peer".parse().unwrap());
        let forged =
            [("x-forwarded-client-cert", "URI=spiffe://d/ns/a/sa/admin"), ("x-sub", "admin"), ("x-sub", "root")];
        let mut changes = Changes { remove: vec![HeaderName::from_static("x-sub")], ..Changes::default() };
        let mut anonymous = request("/", &forged);
        changes.shape(&mut anonymous);
        assert!(anonymous.headers.is_empty(), "{:?}", anonymous.headers);
        changes.name_client(&pod, &peer);
        let mut known = request("/", &forged);
        changes.shape(&mut known);
        assert_eq!(known.headers[CLIENT_CERT], "By=spiffe://d/ns/a/sa/pod;URI=spiffe://d/ns/a/sa/peer");
    }

    #[test]
    fn policies_see_what_the_mesh_says_and_nothing_that_a_client_forges() {
        let mut changes = Changes::default();
        let plain = request("/", &[("x-sub", "root")]);
        assert!(matches!(changes.seen(&plain), Cow::Borrowed(_)), "nothing is copied where nothing differs");
        let forged = request("/", &[("x-forwarded-client-cert", "URI=spiffe://d/ns/a/sa/admin")]);
        assert!(changes.seen(&forged).headers.is_empty());
        changes.remove.push(HeaderName::from_static("x-sub"));
        assert!(changes.seen(&plain).headers.is_empty());
        changes.set.push((HeaderName::from_static("x-sub"), HeaderValue::from_static("ann")));
        assert_eq!(changes.seen(&plain).headers["x-sub"], "ann");
    }

    #[test]
    fn the_application_sees_what_was_decided_about() {
        let changes = Changes { take: vec![Location::Param("access_token".into())], ..Changes::default() };
        let mut sent = request("http://books/admin?access_token=t&x=1", &[("host", "admin")]);
        changes.shape(&mut sent);
        assert_eq!(
            (sent.uri.to_string().as_str(), sent.headers[HOST].as_bytes()),
            ("http://books/admin?x=1", &b"books"[..])
        );
    }
}
