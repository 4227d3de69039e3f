//! HTTP rules.

use super::Reading;
use super::raw::Http;
use super::route::Rule;
use crate::model::http_rule::{Dialect, HttpAction, Retry};
use crate::model::{Filters, HttpMatch, HttpRule};
use crate::source::path::Path;
use crate::source::quantity;
use http::header::HOST;

/// Two fields of which a rule has at most one, and what to do about it.
const EITHER: &[(&str, &str)] = &[
    ("redirect", "route"),
    ("redirect", "fault"),
    ("redirect", "rewrite"),
    ("redirect", "directResponse"),
    ("directResponse", "route"),
    ("directResponse", "fault"),
    ("directResponse", "rewrite"),
    ("delegate", "route"),
    ("delegate", "redirect"),
    ("delegate", "directResponse"),
];

/// The rules that hold in the mesh, in order.
pub fn rules(raw: &[Http], path: &Path, reading: &mut Reading<'_, '_>) -> Vec<HttpRule> {
    raw.iter().enumerate().filter_map(|(at, raw)| rule(raw, at, &path.index(at), reading)).collect()
}

fn rule(raw: &Http, index: usize, path: &Path, reading: &mut Reading<'_, '_>) -> Option<HttpRule> {
    let rule = Rule { list: "http", index, path };
    conflicts(raw, path, reading);
    let action = action(raw, rule, reading);
    let filters = filters(raw, rule, reading);
    let fault = raw.fault.as_ref().map(|raw| reading.fault(raw, &path.key("fault"))).unwrap_or_default();
    let timeout = quantity::duration_or_zero(raw.timeout.as_ref(), &path.key("timeout"), reading.notes);
    let retry = raw.retries.as_ref().map(|raw| reading.retries(raw, &path.key("retries")));
    let matches = matches(raw, path, reading)?;
    let name = (!raw.name.is_empty()).then(|| raw.name.as_str().into());
    let (broken, origin) = (reading.broken.reason("http", index), reading.notes.origin(path));
    let mut rule = HttpRule {
        name,
        matches,
        action: action?,
        filters,
        fault,
        timeout,
        retry,
        broken,
        origin,
        dialect: Dialect::Istio,
    };
    // What is not said in a delegate or a rule that delegates may still be said by the other.
    if !reading.is_delegate && !matches!(rule.action, HttpAction::Delegate(_)) {
        rule.settle(Some(Retry::usual()));
    }
    Some(rule)
}

/// The conditions that can hold in the mesh; none where the rule is for gateways.
fn matches(raw: &Http, path: &Path, reading: &mut Reading<'_, '_>) -> Option<Vec<HttpMatch>> {
    let path = path.key("match");
    let mut matches = Vec::with_capacity(raw.r#match.len());
    for (at, raw) in raw.r#match.iter().enumerate() {
        let read = reading.http_match(raw, &path.index(at));
        if reading.holds_in_mesh(&raw.gateways) {
            matches.push(read);
        }
    }
    // No condition left of several is not the same as no condition: the rule is for gateways.
    let for_gateways = if raw.r#match.is_empty() { !reading.in_mesh } else { matches.is_empty() };
    (!for_gateways).then_some(matches)
}

fn action(raw: &Http, rule: Rule<'_>, reading: &mut Reading<'_, '_>) -> Option<HttpAction> {
    let path = rule.path;
    if let Some(raw) = &raw.redirect {
        return reading.redirect(raw, &path.key("redirect")).map(HttpAction::Redirect);
    }
    if let Some(raw) = &raw.direct_response {
        return reading.direct_response(raw, &path.key("directResponse")).map(HttpAction::Direct);
    }
    if let Some(raw) = &raw.delegate {
        if reading.is_delegate {
            let what = "a VirtualService without hosts, which others delegate to, cannot delegate further";
            reading.notes.error("nested-delegate", &path.key("delegate"), what);
        }
        return reading.delegate(raw, &path.key("delegate")).map(HttpAction::Delegate);
    }
    if raw.route.is_empty() {
        let what = "says not what to do with the requests: write route, redirect, directResponse or delegate";
        reading.notes.error("missing-field", path, what);
    }
    Some(HttpAction::Forward(reading.http_route(&raw.route, rule)))
}

fn filters(raw: &Http, rule: Rule<'_>, reading: &mut Reading<'_, '_>) -> Filters {
    let path = rule.path;
    let headers = path.key("headers");
    let filters = reading.header_filters(&raw.headers, &headers, rule);
    let rewrite = raw.rewrite.as_ref().map(|raw| reading.rewrite(raw, &path.key("rewrite")));
    let sets_host = filters.request.set.iter().filter(|(name, _)| *name == HOST).count();
    if sets_host + usize::from(rewrite.as_ref().is_some_and(|rewrite| rewrite.authority.is_some())) > 1 {
        let what = "the authority is set more than once (`host`, `:authority`, rewrite.authority): keep one of them";
        reading.notes.error("conflict", &headers.key("request"), what);
    }
    let cors = raw.cors_policy.as_ref().map(|raw| reading.cors(raw, &path.key("corsPolicy")));
    Filters { rewrite, mirrors: reading.mirrors(raw, path), cors, ..filters }
}

fn conflicts(raw: &Http, path: &Path, reading: &mut Reading<'_, '_>) {
    let has = |field: &str| match field {
        "route" => !raw.route.is_empty(),
        "redirect" => raw.redirect.is_some(),
        "directResponse" => raw.direct_response.is_some(),
        "delegate" => raw.delegate.is_some(),
        "fault" => raw.fault.is_some(),
        "rewrite" => raw.rewrite.is_some(),
        _ => false,
    };
    for (field, other) in EITHER.iter().filter(|(field, other)| has(field) && has(other)) {
        let what = format!("stands beside `{field}`, and a rule has only one of them: remove one, or make two rules");
        reading.notes.error("conflict", &path.key(other), what);
    }
}
