//! One rule of a delegate under the rule that delegates to it.

use crate::model::http_rule::{Fault, Retry};
use crate::model::{Filters, HttpMatch, HttpRule, Labels, StringMatch};
use std::sync::Arc;

/// The rule in the place of `root`: it takes what both take, and does what `own` says, and what `root` says where
/// `own` says nothing. None where it takes more than `root`: it is not in force.
pub(super) fn rule(root: &HttpRule, own: &HttpRule) -> Option<HttpRule> {
    let mut rule = HttpRule {
        name: name(root.name.as_ref(), own.name.as_ref()),
        matches: matches(&root.matches, &own.matches)?,
        filters: filters(&root.filters, &own.filters),
        fault: if own.fault == Fault::default() { root.fault.clone() } else { own.fault.clone() },
        timeout: own.timeout.or(root.timeout),
        retry: own.retry.clone().or_else(|| root.retry.clone()),
        broken: own.broken.clone().or_else(|| root.broken.clone()),
        ..own.clone()
    };
    rule.settle(Some(Retry::usual()));
    Some(rule)
}

fn name(root: Option<&Arc<str>>, own: Option<&Arc<str>>) -> Option<Arc<str>> {
    match (root, own) {
        (Some(root), Some(own)) => Some(format!("{root}-{own}").into()),
        (one, other) => other.or(one).cloned(),
    }
}

fn filters(root: &Filters, own: &Filters) -> Filters {
    let headers = if own.request.is_empty() && own.response.is_empty() { root } else { own };
    Filters {
        request: headers.request.clone(),
        response: headers.response.clone(),
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        mirrors: if own.mirrors.is_empty() { root.mirrors.clone() } else { own.mirrors.clone() },
        cors: own.cors.clone().or_else(|| root.cors.clone()),
    }
}

/// Each of the delegate's with each of the root's that it is within; it has to be within one.
fn matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || own.is_empty() {
        return Some([root, own].concat());
    }
    let mut all = Vec::with_capacity(own.len());
    for own in own {
        let before = all.len();
        all.extend(root.iter().filter_map(|root| both(root, own)));
        if all.len() == before {
            return None;
        }
    }
    Some(all)
}

/// What both take; none where the delegate's takes more than the root's.
fn both(root: &HttpMatch, own: &HttpMatch) -> Option<HttpMatch> {
    let pairs = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let case = root.uri.is_none() || own.uri.is_none() || root.ignore_uri_case == own.ignore_uri_case;
    let texts = pairs.iter().all(|pair| match pair {
        (Some(root), Some(own)) => within(root, own),
        _ => true,
    });
    let port = root.port.is_none() || own.port.is_none() || root.port == own.port;
    let namespace = root.source_namespace.is_none()
        || own.source_namespace.is_none()
        || root.source_namespace == own.source_namespace;
    if !(case && texts && port && namespace && labels_agree(&root.source_labels, &own.source_labels)) {
        return None;
    }
    Some(HttpMatch {
        name: name(root.name.as_ref(), own.name.as_ref()),
        uri: own.uri.clone().or_else(|| root.uri.clone()),
        ignore_uri_case: if own.uri.is_some() { own.ignore_uri_case } else { root.ignore_uri_case },
        scheme: own.scheme.clone().or_else(|| root.scheme.clone()),
        method: own.method.clone().or_else(|| root.method.clone()),
        headers: narrowed(&root.headers, &own.headers)?,
        // None of them may match, whosever it is.
        without_headers: [&*root.without_headers, &*own.without_headers].concat(),
        query_params: narrowed(&root.query_params, &own.query_params)?,
        authority: own.authority.clone().or_else(|| root.authority.clone()),
        port: own.port.or(root.port),
        source_labels: root
            .source_labels
            .iter()
            .chain(&own.source_labels)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        source_namespace: own.source_namespace.clone().or_else(|| root.source_namespace.clone()),
    })
}

fn labels_agree(root: &Labels, own: &Labels) -> bool {
    own.iter().all(|(key, value)| root.get(key).is_none_or(|other| other == value))
}

/// The conditions of both on named strings; none where one of the delegate's takes more than the root's of that name.
fn narrowed<N: Clone + PartialEq>(
    root: &[(N, StringMatch)],
    own: &[(N, StringMatch)],
) -> Option<Vec<(N, StringMatch)>> {
    let mut all = own.to_vec();
    for (name, wider) in root {
        match own.iter().find(|(other, _)| other == name) {
            Some((_, own)) if !within(wider, own) => return None,
            Some(_) => {}
            None => all.push((name.clone(), wider.clone())),
        }
    }
    Some(all)
}

/// Whether all that `own` takes is taken by `root` as well. Of regular expressions nobody can tell.
fn within(root: &StringMatch, own: &StringMatch) -> bool {
    use StringMatch::{Exact, Prefix, Present};
    match (root, own) {
        (Present, _) => true,
        (Exact(root), Exact(own)) => root == own,
        (Prefix(root), Exact(own) | Prefix(own)) => own.starts_with(&**root),
        _ => false,
    }
}
