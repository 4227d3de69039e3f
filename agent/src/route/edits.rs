//! Changes of headers and of a request's target.

use crate::model::http_rule::HeaderOps;
use crate::vocab::{NulInPath, normalised};
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Uri};
use std::borrow::Cow;

/// Operations on headers, one list after the other.
#[derive(Clone, Debug, Default)]
pub struct Edits(Box<[HeaderOps]>);

impl Edits {
    /// These lists, without those that do nothing. `host` is no header: see [`host`].
    pub fn new<'a>(lists: impl IntoIterator<Item = &'a HeaderOps>) -> Self {
        let bare = |ops: &HeaderOps| {
            let mut ops = ops.clone();
            ops.remove.retain(|name| *name != HOST);
            ops.set.retain(|(name, _)| *name != HOST);
            ops.add.retain(|(name, _)| *name != HOST);
            ops
        };
        Self(lists.into_iter().map(bare).filter(|ops| !ops.is_empty()).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does them.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for ops in &self.0 {
            for name in &ops.remove {
                headers.remove(name);
            }
            for (name, value) in &ops.set {
                headers.insert(name, value.clone());
            }
            for (name, value) in &ops.add {
                headers.append(name, value.clone());
            }
        }
    }
}

/// The authority that a list sets, as if it were a header.
pub fn host(ops: &HeaderOps) -> Option<&HeaderValue> {
    ops.set.iter().chain(&ops.add).find(|(name, _)| *name == HOST).map(|(_, value)| value)
}

/// What the destination sees as the authority.
#[derive(Clone, Debug)]
pub struct NewAuthority {
    value: HeaderValue,
    /// None where it cannot stand in a target, only in `Host`.
    target: Option<Authority>,
}

impl NewAuthority {
    /// This one.
    pub fn new(value: &HeaderValue) -> Self {
        Self { value: value.clone(), target: Authority::try_from(value.as_bytes()).ok() }
    }

    /// Puts it where the request has its own: in the target, in `Host`, or in both.
    pub fn apply(&self, request: &mut Parts) {
        if request.uri.authority().is_some()
            && let Some(target) = &self.target
        {
            let mut parts = request.uri.clone().into_parts();
            parts.authority = Some(target.clone());
            replace(&mut request.uri, parts);
        }
        if request.uri.authority().is_none() || request.headers.contains_key(HOST) {
            request.headers.insert(HOST, self.value.clone());
        }
    }
}

/// Gives the target's path its one spelling; whether it had another.
///
/// # Errors
/// It has none.
pub fn normalise(uri: &mut Uri) -> Result<bool, NulInPath> {
    let Cow::Owned(path) = normalised(uri.path())? else { return Ok(false) };
    let path = uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    retarget(uri, path);
    Ok(true)
}

/// Gives the target this path and query.
pub fn retarget(uri: &mut Uri, path: String) {
    let mut parts = uri.clone().into_parts();
    // What `PathEdit::apply` gives has been tried already.
    if let Ok(path) = PathAndQuery::try_from(path) {
        parts.path_and_query = Some(path);
        replace(uri, parts);
    }
}

fn replace(uri: &mut Uri, parts: http::uri::Parts) {
    // Whatever parts a target has, it has them still, so this does not fail.
    if let Ok(changed) = Uri::from_parts(parts) {
        *uri = changed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(HeaderName, HeaderValue)> {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn headers_are_removed_then_set_then_added_list_by_list() {
        let first = HeaderOps {
            remove: vec!["a".parse().unwrap(), "host".parse().unwrap()],
            set: pairs(&[("b", "1"), ("c", "1"), ("host", "x")]),
            add: pairs(&[("a", "2"), ("b", "2")]),
        };
        let second = HeaderOps { set: pairs(&[("c", "3")]), add: pairs(&[("d", "3")]), ..HeaderOps::default() };
        let mut headers: HeaderMap = pairs(&[("a", "0"), ("b", "0"), ("d", "0"), ("host", "h")]).into_iter().collect();
        Edits::new([&first, &HeaderOps::default(), &second]).apply(&mut headers);
        let values = |name: &str| headers.get_all(name).iter().map(|one| one.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(values("a"), ["2"]);
        assert_eq!(values("b"), ["1", "2"]);
        assert_eq!(values("c"), ["3"]);
        assert_eq!(values("d"), ["0", "3"]);
        assert_eq!(values("host"), ["h"]);
        assert_eq!(host(&first).unwrap(), "x");
    }

    #[test]
    fn the_authority_is_changed_where_the_request_has_it() {
        let changed = |uri: &str, own: Option<&str>| {
            let mut request = http::Request::builder().uri(uri);
            if let Some(own) = own {
                request = request.header(HOST, own);
            }
            let mut request = request.body(()).unwrap().into_parts().0;
            NewAuthority::new(&HeaderValue::from_static("new:1")).apply(&mut request);
            let host = request.headers.get(HOST).map(|host| host.to_str().unwrap().to_owned());
            (request.uri.to_string(), host)
        };
        assert_eq!(changed("/a?b", Some("old")), ("/a?b".into(), Some("new:1".into())));
        assert_eq!(changed("http://old/a?b", None), ("http://new:1/a?b".into(), None));
        assert_eq!(changed("http://old/a", Some("old")), ("http://new:1/a".into(), Some("new:1".into())));
        assert_eq!(changed("/a", None), ("/a".into(), Some("new:1".into())));
    }
}
