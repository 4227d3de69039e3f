//! What is asked over HTTP: the request's own head; and what the answer means, as Envoy has it.

use super::super::edits::{Edits, HeaderEdit, How, is_changeable};
use super::super::judge::authority;
use super::{Answered, Refused};
use crate::model::extension_provider::{HttpCheck, NamePattern};
use ::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, WWW_AUTHENTICATE};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;

/// What is asked.
///
/// # Errors
/// The path with its prefix is none.
pub fn question(check: &HttpCheck, request: &Parts) -> Result<Request<Full<Bytes>>, String> {
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("{}{path}", check.path_prefix);
    let asked = Request::builder().method(request.method.clone()).uri(uri).body(Full::default());
    let mut asked = asked.map_err(|error| error.to_string())?;
    let headers = asked.headers_mut();
    let goes = |name: &HeaderName| *name == AUTHORIZATION || takes(&check.request_headers, name);
    for (name, value) in request.headers.iter().filter(|(name, _)| goes(name) && is_changeable(name)) {
        headers.append(name, value.clone());
    }
    headers.insert(HOST, authority(request).parse().map_err(|_| "the authority cannot be a header".to_owned())?);
    for (name, value) in &check.additional {
        headers.insert(name.clone(), value.clone());
    }
    Ok(asked)
}

/// What the answer means.
///
/// # Errors
/// The authorizer is broken.
pub fn understand(check: &HttpCheck, answer: Response<Bytes>) -> Answered {
    let (head, body) = answer.into_parts();
    if head.status.is_server_error() {
        return Err(format!("it answers {}", head.status));
    }
    if head.status != StatusCode::OK {
        let always = [LOCATION, WWW_AUTHENTICATE];
        let all = check.downstream_on_deny.is_empty();
        let given = |name: &HeaderName| all || always.contains(name) || takes(&check.downstream_on_deny, name);
        let kept = head.headers.iter().filter(|(name, _)| is_changeable(name) && given(name));
        let headers: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        return Ok(Err(Refused { status: head.status, headers, body, why: format!(" with {}", head.status.as_u16()) }));
    }
    let edits = |patterns: &[NamePattern]| {
        let meant = head.headers.iter().filter(|(name, _)| is_changeable(name) && takes(patterns, name));
        let set = |(name, value): (&HeaderName, &::http::HeaderValue)| {
            let how = How::Set;
            HeaderEdit { name: name.clone(), value: value.clone(), how }
        };
        meant.map(set).collect::<Vec<_>>()
    };
    let (request, response) = (edits(&check.upstream_on_allow), edits(&check.downstream_on_allow));
    Ok(Ok(Edits { request, response, ..Edits::default() }))
}

fn takes(patterns: &[NamePattern], name: &HeaderName) -> bool {
    *name != CONTENT_LENGTH && patterns.iter().any(|pattern| pattern.takes(name))
}
