//! What the rule that takes the traffic does with it.

use super::Case;
use super::policy;
use crate::model::http_rule::{Abort, Fault, HeaderOps, Share};
use crate::model::{Destination, Filters, HttpAction, HttpRule, WeightedDestination};
use serde_json::{Value, json};

/// What becomes of a request that this rule takes.
pub(super) fn http_outcome(case: &Case<'_>, rule: &HttpRule) -> Value {
    if let Some(why) = &rule.broken {
        return json!({ "what": format!("500 (BR): the rule cannot be applied: {why}") });
    }
    let mut outcome = match &rule.action {
        HttpAction::Forward(to) if to.is_empty() => json!({ "what": "500: the rule names no destination" }),
        HttpAction::Forward(to) => {
            json!({ "what": "the request is sent on", "destinations": destinations(case, to) })
        }
        HttpAction::Redirect(redirect) => {
            let what = format!("{} redirects it", redirect.status.as_u16());
            json!({ "what": what, "redirect": format!("{redirect:?}") })
        }
        HttpAction::Direct(direct) => {
            json!({ "what": format!("{} answers it, {} bytes", direct.status.as_u16(), direct.body.len()) })
        }
        HttpAction::Delegate(to) => {
            json!({ "what": format!("500: VirtualService {to} is to decide, and is not there") })
        }
    };
    outcome["steps"] = steps(rule).into();
    outcome
}

/// What happens on the way, in words.
fn steps(rule: &HttpRule) -> Vec<String> {
    let mut steps = faults(&rule.fault);
    steps.extend(filters(&rule.filters));
    steps.extend(rule.timeout.map(|timeout| format!("answered with 504 after {timeout:?}")));
    if let Some(retry) = &rule.retry {
        let each = retry.per_try.map(|each| format!(", {each:?} each")).unwrap_or_default();
        steps.push(format!("repeated up to {} times{each}", retry.attempts));
    }
    steps
}

fn faults(fault: &Fault) -> Vec<String> {
    let delay = fault.delay.map(|(delay, share)| format!("{} are delayed by {delay:?}", percent(share)));
    let abort = fault.abort.map(|(abort, share)| match abort {
        Abort::Http(status) => format!("{} are answered with {}", percent(share), status.as_u16()),
        Abort::Grpc(status) => format!("{} are answered with gRPC status {status}", percent(share)),
    });
    delay.into_iter().chain(abort).collect()
}

fn filters(filters: &Filters) -> Vec<String> {
    let mut steps = Vec::new();
    steps.extend(headers("the request's headers", &filters.request));
    steps.extend(headers("the answer's headers", &filters.response));
    if let Some(rewrite) = &filters.rewrite {
        let path = rewrite.path.as_ref().map(|path| format!("the path is rewritten: {path:?}"));
        let authority = rewrite.authority.as_ref().map(|to| format!("the authority becomes {to:?}"));
        steps.extend(path.into_iter().chain(authority));
    }
    let mirrors = filters.mirrors.iter();
    steps.extend(mirrors.map(|one| format!("{} are copied to {}", percent(one.share), named(&one.destination))));
    steps.extend(filters.cors.as_ref().map(|_| "CORS headers are added, preflights are answered".to_owned()));
    steps
}

fn headers(what: &str, ops: &HeaderOps) -> Option<String> {
    let names = |verb: &str, names: Vec<String>| (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")));
    let pairs = |pairs: &[(http::HeaderName, http::HeaderValue)]| {
        pairs.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect()
    };
    let parts = [
        names("remove", ops.remove.iter().map(ToString::to_string).collect()),
        names("set", pairs(&ops.set)),
        names("add", pairs(&ops.add)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{what}: {}", parts.join("; ")))
}

fn percent(Share(share): Share) -> String {
    format!("{}%", f64::from(share) / 10_000.0)
}

/// The destinations with their shares, endpoints and policies.
pub(super) fn destinations(case: &Case<'_>, route: &[WeightedDestination]) -> Vec<Value> {
    let total: u64 = route.iter().map(|one| u64::from(one.weight)).sum();
    let share = |one: &WeightedDestination| {
        let share = if route.len() == 1 { 100.0 } else { f64::from(one.weight) * 100.0 / (total.max(1) as f64) };
        (share * 10.0).round() / 10.0
    };
    let row = |one: &WeightedDestination| {
        let mut row = destination(case, &one.destination);
        row["percent"] = share(one).into();
        row["broken"] = json!(one.broken);
        row["steps"] = filters(&one.filters).into();
        if let Some(redirect) = &one.redirect {
            row["redirect"] = format!("{redirect:?}").into();
        }
        row
    };
    route.iter().map(row).collect()
}

fn destination(case: &Case<'_>, to: &Destination) -> Value {
    let name = named(to);
    let Some(backends) = case.table.backends(&to.host) else {
        return json!({ "to": name, "problem": format!("there is no service {}", to.host) });
    };
    let port = match (to.port, backends.ports()) {
        (Some(number), _) => backends.port(number),
        (None, [only]) => Some(only),
        (None, _) => backends.port(case.port.number()),
    };
    let Some(port) = port else {
        return json!({ "to": name, "problem": format!("{} has no such port", to.host) });
    };
    let Some(upstream) = backends.upstream(case.source, port, to.subset.as_ref()) else {
        return json!({ "to": name, "problem": "no DestinationRule that this client sees has the subset" });
    };
    let mut row = policy::of(&upstream, backends, case.source);
    row["to"] = name.into();
    row
}

impl Case<'_> {
    /// The service itself.
    pub(super) fn plain(&self, what: &str) -> Value {
        let backends = self.frontend.backends();
        let upstream = backends.upstream(self.source, self.port, None);
        let upstream = upstream.unwrap_or_else(|| std::sync::Arc::clone(&self.port.whole));
        let mut row = policy::of(&upstream, backends, self.source);
        row["to"] = format!("{}:{}", backends.host(), self.port.number()).into();
        row["percent"] = 100.0.into();
        json!({ "what": what, "destinations": [row] })
    }
}

fn named(to: &Destination) -> String {
    let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
    let subset = to.subset.as_ref().map(|subset| format!(" subset {subset}")).unwrap_or_default();
    format!("{}{port}{subset}", to.host)
}
