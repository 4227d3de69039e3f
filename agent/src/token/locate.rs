//! Where a token stands in a request.

use crate::model::request_authentication::Location;
use http::header::COOKIE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// The tokens at a location. One that is no text is no token.
pub fn found(request: &Parts, location: &Location) -> Vec<String> {
    match location {
        Location::Header(name, prefix) => {
            let values = request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.filter_map(|value| behind(value, prefix)).map(str::to_owned).collect()
        }
        Location::Param(name) => {
            let pairs = request.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| decoded(key) == **name).map(|(_, value)| decoded(value)).collect()
        }
        Location::Cookie(name) => {
            let lines = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
            let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
            pairs.filter(|(key, _)| *key == &**name).map(|(_, value)| value.trim_matches('"').to_owned()).collect()
        }
    }
}

/// What stands behind a prefix, up to what no token has in it. Schemes are compared without regard to case (RFC 9110).
fn behind<'a>(value: &'a str, prefix: &str) -> Option<&'a str> {
    let head = value.get(..prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let rest = value[prefix.len()..].trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.=+/".contains(c))).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|token| !token.is_empty())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Takes what stands at a location out of a request.
pub fn take(request: &mut Parts, location: &Location) {
    match location {
        Location::Header(name, _) => drop(request.headers.remove(name)),
        Location::Param(name) => take_param(&mut request.uri, name),
        Location::Cookie(name) => take_cookie(request, name),
    }
}

fn take_param(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else { return };
    let key = |pair: &&str| decoded(pair.split_once('=').map_or(*pair, |(key, _)| key));
    let rest: Vec<&str> = query.split('&').filter(|pair| key(pair) != name).collect();
    let text = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), rest.join("&")) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(text).ok();
    if let Ok(shorter) = Uri::from_parts(parts) {
        *uri = shorter;
    }
}

fn take_cookie(request: &mut Parts, name: &str) {
    let is_it = |pair: &&str| pair.trim().split_once('=').is_some_and(|(key, _)| key == name);
    let kept: Vec<HeaderValue> = request
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| match line.to_str() {
            Ok(text) if text.split(';').any(|pair| is_it(&pair)) => {
                let rest: Vec<&str> = text.split(';').filter(|pair| !is_it(pair)).map(str::trim).collect();
                HeaderValue::from_str(&rest.join("; ")).ok().filter(|rest| !rest.is_empty())
            }
            _ => Some(line.clone()),
        })
        .collect();
    request.headers.remove(COOKIE);
    for line in kept {
        request.headers.append(COOKIE, line);
    }
}
