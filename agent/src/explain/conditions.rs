//! Which conditions of a match do not hold: each is put to `route` by itself.

use crate::model::{HttpMatch, Labels, StringMatch, Workload};
use crate::route::matching::{Asked, http_match};

/// The conditions that do not hold, for people; none: the match takes the request.
pub(super) fn unmet(one: &HttpMatch, asked: &Asked<'_>) -> Vec<String> {
    let fails = |(alone, what): (HttpMatch, String)| (!http_match(&alone, asked)).then_some(what);
    let unmet: Vec<String> = apart(one).into_iter().filter_map(fails).collect();
    if unmet.is_empty() && !http_match(one, asked) {
        return vec!["its conditions do not hold together".to_owned()];
    }
    unmet
}

/// Every condition of a match, alone and in words.
fn apart(one: &HttpMatch) -> Vec<(HttpMatch, String)> {
    let none = HttpMatch::default;
    let mut apart = Vec::new();
    if one.uri.is_some() {
        let alone = HttpMatch { uri: one.uri.clone(), ignore_uri_case: one.ignore_uri_case, ..none() };
        apart.push((alone, format!("the path {}", words(one.uri.as_ref()))));
    }
    if one.method.is_some() {
        let alone = HttpMatch { method: one.method.clone(), ..none() };
        apart.push((alone, format!("the method {}", words(one.method.as_ref()))));
    }
    if one.scheme.is_some() {
        apart.push((
            HttpMatch { scheme: one.scheme.clone(), ..none() },
            format!("the scheme {}", words(one.scheme.as_ref())),
        ));
    }
    if one.authority.is_some() {
        let alone = HttpMatch { authority: one.authority.clone(), ..none() };
        apart.push((alone, format!("the authority {}", words(one.authority.as_ref()))));
    }
    for (name, wanted) in &one.headers {
        let alone = HttpMatch { headers: vec![(name.clone(), wanted.clone())], ..none() };
        apart.push((alone, format!("the header {name} {}", words(Some(wanted)))));
    }
    for (name, wanted) in &one.without_headers {
        let alone = HttpMatch { without_headers: vec![(name.clone(), wanted.clone())], ..none() };
        apart.push((alone, format!("no header {name} {}", words(Some(wanted)))));
    }
    for (name, wanted) in &one.query_params {
        let alone = HttpMatch { query_params: vec![(name.clone(), wanted.clone())], ..none() };
        apart.push((alone, format!("the query parameter {name} {}", words(Some(wanted)))));
    }
    apart.extend(of_the_client(one));
    apart
}

fn of_the_client(one: &HttpMatch) -> Vec<(HttpMatch, String)> {
    let none = HttpMatch::default;
    let mut apart = Vec::new();
    if let Some(port) = one.port {
        apart.push((HttpMatch { port: Some(port), ..none() }, format!("the port {port}")));
    }
    for (key, value) in &one.source_labels {
        let labels: Labels = [(key.clone(), value.clone())].into();
        apart.push((HttpMatch { source_labels: labels, ..none() }, format!("the client's label {key}={value}")));
    }
    if let Some(namespace) = &one.source_namespace {
        let alone = HttpMatch { source_namespace: Some(namespace.clone()), ..none() };
        apart.push((alone, format!("a client in namespace {namespace}")));
    }
    apart
}

/// A match in words.
pub(super) fn in_words(one: &HttpMatch) -> String {
    let all: Vec<String> = apart(one).into_iter().map(|(_, what)| what).collect();
    if all.is_empty() { "anything".to_owned() } else { all.join(", ") }
}

fn words(wanted: Option<&StringMatch>) -> String {
    match wanted {
        Some(StringMatch::Exact(text)) => format!("`{text}`"),
        Some(StringMatch::Prefix(text)) => format!("with prefix `{text}`"),
        Some(StringMatch::PathPrefix(text)) => format!("at or below `{}`", if text.is_empty() { "/" } else { text }),
        Some(StringMatch::Regex(regex)) => format!("like `{regex}`"),
        Some(StringMatch::Present) | None => "with any value".to_owned(),
    }
}

/// Labels of a client in words, for conditions on connections.
pub(super) fn client_fails(
    labels: &Labels,
    namespace: Option<&crate::vocab::Namespace>,
    source: &Workload,
) -> Vec<String> {
    let missing = labels.iter().filter(|(key, value)| source.label(key) != Some(&***value));
    let labels = missing.map(|(key, value)| format!("the client's label {key}={value}"));
    let elsewhere = namespace.filter(|wanted| **wanted != source.id.pod.namespace);
    labels.chain(elsewhere.map(|wanted| format!("a client in namespace {wanted}"))).collect()
}
