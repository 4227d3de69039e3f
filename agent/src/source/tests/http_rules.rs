//! What HTTP rules say, understood.

use super::routes::read;
use crate::model::http_rule::*;
use crate::model::{Filters, HttpRule, StringMatch};
use http::{HeaderName, Method, StatusCode};
use std::time::Duration;

/// The first rule of `http`, of which nothing may be said but that its executor is missing yet.
#[track_caller]
fn rule(text: &str) -> HttpRule {
    let (findings, object) = read(&format!("hosts: [a]\nhttp:\n{text}"));
    let surprising: Vec<_> = findings.iter().filter(|line| !line.contains(" unsupported-field ")).collect();
    assert!(surprising.is_empty(), "{surprising:#?}");
    object.unwrap().http.remove(0)
}

/// A rule with a route and this.
#[track_caller]
fn with(text: &str) -> HttpRule {
    rule(&format!("- {text}\n  route: [{{destination: {{host: a}}}}]\n"))
}

fn names(pairs: &[(HeaderName, http::HeaderValue)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect()
}

fn filters(rule: &HttpRule) -> &Filters {
    &rule.filters
}

#[test]
fn query_parameters_scheme_and_names_of_matches() {
    let rule =
        with("match: [{name: m, scheme: {exact: http}, queryParams: {q: {exact: 'true'}, r: {regex: '\\d+'}, s: {}}}]");
    let matched = &rule.matches[0];
    assert_eq!(matched.name.as_deref(), Some("m"));
    assert_eq!(matched.scheme, Some(StringMatch::Exact("http".into())));
    assert_eq!(matched.query_params[0], ("q".into(), StringMatch::Exact("true".into())));
    assert!(matches!(&matched.query_params[1].1, StringMatch::Regex(regex) if regex.as_str() == r"^(?:\d+)$"));
    assert_eq!(matched.query_params[2].1, StringMatch::Present);
}

#[test]
fn header_operations_of_the_rule_and_of_a_destination() {
    let rule = rule(
        "- headers:\n    request: {set: {X-A: '1', ':authority': b.c}, add: {x-b: 50%%}, remove: [X-C]}\n    \
         response: {add: {x-d: '4'}}\n  route:\n  - destination: {host: a}\n    headers: {response: {remove: [server]}}\n",
    );
    let request = &filters(&rule).request;
    assert_eq!(names(&request.set), ["host=b.c", "x-a=1"]);
    assert_eq!(names(&request.add), ["x-b=50%"]);
    assert_eq!(request.remove, ["x-c"]);
    assert_eq!(names(&filters(&rule).response.add), ["x-d=4"]);
    let own = &rule.route()[0].filters;
    assert_eq!((own.response.remove[0].as_str(), own.request.is_empty()), ("server", true));
}

#[test]
fn redirects() {
    let redirect = |text: &str| match rule(&format!("- redirect: {text}\n")).action {
        HttpAction::Redirect(redirect) => redirect,
        other => panic!("{other:?}"),
    };
    let full = redirect("{uri: /v2, authority: b.c, scheme: https, port: 8443, redirectCode: 308}");
    assert_eq!(full.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!((full.scheme.as_deref(), full.host.as_deref()), (Some("https"), Some("b.c")));
    assert_eq!((full.port, full.path), (RedirectPort::Fixed(8443), Some(PathChange::Full("/v2".into()))));
    let least = redirect("{authority: b.c}");
    assert_eq!((least.status, least.port, least.path), (StatusCode::MOVED_PERMANENTLY, RedirectPort::AsWritten, None));
    for (derive, port) in
        [("FROM_PROTOCOL_DEFAULT", RedirectPort::AsWritten), ("FROM_REQUEST_PORT", RedirectPort::OfRequest)]
    {
        let derived = redirect(&format!("{{prefixRewrite: /n, derivePort: {derive}}}"));
        assert_eq!((derived.port, derived.path), (port, Some(PathChange::Prefix("/n".into()))));
    }
}

#[test]
fn direct_responses() {
    for (body, expected) in [
        ("", ""),
        (", body: {string: 'hello'}", "hello"),
        (", body: {bytes: aGVsbG8=}", "hello"),
        (", body: {bytes: aGVsbG8}", "hello"),
    ] {
        let rule = rule(&format!("- directResponse: {{status: 503{body}}}\n"));
        let HttpAction::Direct(answer) = rule.action else { panic!("{rule:?}") };
        assert_eq!((answer.status, &*answer.body), (StatusCode::SERVICE_UNAVAILABLE, expected.as_bytes()));
    }
}

#[test]
fn rewrites() {
    let rewrite = |text: &str| with(&format!("rewrite: {text}")).filters.rewrite.unwrap();
    let both = rewrite("{uri: /v2, authority: 'b.c:80'}");
    assert_eq!(both.path, Some(PathChange::Prefix("/v2".into())));
    assert_eq!(both.authority.unwrap(), "b.c:80");
    let regex = rewrite(r"{uriRegexRewrite: {match: '^/service/([^/]+)(/.*)$', rewrite: '\2/instance/\1'}}").path;
    let Some(PathChange::Regex(regex, text)) = regex else { panic!("{regex:?}") };
    assert_eq!((regex.as_str(), &*text), (r"^/service/([^/]+)(/.*)$", r"\2/instance/\1"));
}

#[test]
fn time_limits() {
    for (text, expected) in [("15s", Some(15_000)), ("0.5s", Some(500)), ("1m30s", Some(90_000)), ("0s", None)] {
        let timeout = with(&format!("timeout: {text}")).timeout;
        assert_eq!(timeout, expected.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn retries_are_those_that_are_written_or_istios() {
    let retry = |text: &str| with(&format!("retries: {text}")).retry;
    assert_eq!(with("name: x").retry, Some(Retry::usual()));
    assert_eq!(retry("{attempts: 0}"), None);
    let least = retry("{attempts: 5}").unwrap();
    assert_eq!((least.attempts, least.on, least.other_host), (5, RetryOn::usual(), true));
    let all = retry(
        "{attempts: 3, perTryTimeout: 2s, backoff: 50ms, retryIgnorePreviousHosts: false, retryRemoteLocalities: true, \
         retryOn: '5xx,gateway-error, reset,reset-before-request,connect-failure,retriable-4xx,refused-stream,\
         envoy-ratelimited,503,429,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable'}",
    )
    .unwrap();
    assert_eq!((all.per_try, all.backoff), (Some(Duration::from_secs(2)), Some(Duration::from_millis(50))));
    assert_eq!((all.other_host, all.remote_localities), (false, true));
    let on = all.on;
    assert!(on.server_error && on.gateway_error && on.reset && on.reset_before_request && on.connect_failure);
    assert!(on.conflict && on.refused_stream && on.rate_limited);
    assert_eq!(on.statuses, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]);
    assert_eq!(on.grpc, [1, 4, 13, 8, 14]);
}

#[test]
fn faults_with_their_shares() {
    let fault = |text: &str| with(&format!("fault: {text}")).fault;
    let both = fault(
        "{delay: {fixedDelay: 7s, percentage: {value: 0.1}}, abort: {httpStatus: 555, percentage: {value: 100}}}",
    );
    assert_eq!(both.delay, Some((Duration::from_secs(7), Share(1000))));
    assert_eq!(both.abort, Some((Abort::Http(StatusCode::from_u16(555).unwrap()), Share::ALL)));
    let grpc = fault("{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 12.5}}}");
    assert_eq!((grpc.delay, grpc.abort), (None, Some((Abort::Grpc(14), Share(125_000)))));
}

#[test]
fn mirrors_with_their_shares() {
    let mirrors = |text: &str| {
        let found = with(text).filters.mirrors;
        found.iter().map(|one| (one.destination.host.to_string(), one.share)).collect::<Vec<_>>()
    };
    let b = || "b.default.svc.cluster.local".to_owned();
    assert_eq!(mirrors("mirror: {host: b, subset: v2}"), [(b(), Share::ALL)]);
    assert_eq!(mirrors("mirror: {host: b}\n  mirrorPercentage: {value: 0}"), [(b(), Share(0))]);
    assert_eq!(
        mirrors("mirrors: [{destination: {host: b}, percentage: {value: 50}}, {destination: {host: c.d}}]"),
        [(b(), Share(500_000)), ("c.d".to_owned(), Share::ALL)]
    );
}

#[test]
fn cross_origin_policies() {
    let cors = |text: &str| with(&format!("corsPolicy: {text}")).filters.cors.unwrap();
    let full = cors(
        "{allowOrigins: [{exact: 'https://a.b'}, {prefix: 'https://'}, {exact: '*'}], allowMethods: [GET, POST], \
         allowHeaders: [X-A], exposeHeaders: ['*'], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}",
    );
    assert_eq!(full.origins[0], StringMatch::Exact("https://a.b".into()));
    assert_eq!(full.origins[2], StringMatch::Present);
    assert_eq!((full.methods, full.any_method), (vec![Method::GET, Method::POST], false));
    assert_eq!((full.headers[0].as_str(), full.any_header), ("x-a", false));
    assert_eq!((full.expose.len(), full.any_expose), (0, true));
    assert_eq!(full.max_age, Some(Duration::from_secs(86_400)));
    assert!(full.credentials && !full.forward_unmatched);
    let least = cors("{}");
    assert!(least.origins.is_empty() && !least.credentials && least.forward_unmatched);
}

#[test]
fn a_rule_that_delegates_names_the_other_object() {
    let delegate = |text: &str| match rule(&format!("- delegate: {text}\n  timeout: 0s\n")) {
        HttpRule { action: HttpAction::Delegate(id), timeout, retry: None, .. } => {
            assert_eq!(timeout, Some(Duration::ZERO));
            id.to_string()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(delegate("{name: x}"), "default/x");
    assert_eq!(delegate("{name: x, namespace: y}"), "y/x");
}
