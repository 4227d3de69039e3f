//! What is wrong with HTTP rules, said at its place; nothing of such an object is in force.

use super::routes::read;
use super::{Dir, assert_findings};
use crate::source::tests::virtual_services;

/// The findings of a rule with a route, without those about missing executors.
fn findings(rule: &str) -> (Vec<String>, bool) {
    let (findings, object) = read(&format!("hosts: [a]\nhttp:\n- {rule}\n"));
    (findings.into_iter().filter(|line| !line.contains(" unsupported-field ")).collect(), object.is_some())
}

/// Each rule with what is said of it after `severity code f.yaml:`.
#[track_caller]
fn table(severity: &str, in_force: bool, cases: &[(&str, &str, &str)]) {
    for (rule, code, expected) in cases {
        let routed = ["redirect", "directResponse", "delegate", "route"].iter().any(|action| rule.starts_with(action));
        let route = if routed { "" } else { "\n  route: [{destination: {host: a}}]" };
        let (found, there) = findings(&format!("{rule}{route}"));
        assert_findings(&found, &[&format!("{severity} {code} f.yaml:{expected}")]);
        assert_eq!(there, in_force, "{rule}");
    }
}

#[test]
fn contradictions() {
    let route = "route: [{destination: {host: a}}]";
    let beside = |one: &str, other: &str| (format!("{one}\n  {other}"), other.split(':').next().unwrap().to_owned());
    for ((rule, field), with) in [
        (beside("redirect: {uri: /}", route), "redirect"),
        (beside("redirect: {uri: /}", "rewrite: {uri: /}"), "redirect"),
        (beside("redirect: {uri: /}", "directResponse: {status: 200}"), "redirect"),
        (beside("directResponse: {status: 200}", route), "directResponse"),
        (beside("directResponse: {status: 200}", "rewrite: {uri: /}"), "directResponse"),
        (beside("delegate: {name: x}", route), "delegate"),
        (beside("delegate: {name: x}", "redirect: {uri: /}"), "delegate"),
    ] {
        let expected = format!(
            "error conflict f.yaml:9:5 spec.http[0].{field}: stands beside `{with}`, and a rule has only one of them"
        );
        let (found, there) = findings(&rule);
        assert_findings(&found, &[&expected]);
        assert!(!there);
    }
    table(
        "error",
        false,
        &[
            (
                "mirror: {host: b}\n  mirrors: [{destination: {host: c}}]",
                "conflict",
                "9:5 spec.http[0].mirrors: stands beside `mirror`",
            ),
            (
                "headers: {request: {set: {host: b, ':authority': c}}}",
                "conflict",
                "8:15 spec.http[0].headers.request: the authority is set more than once",
            ),
            (
                "headers: {request: {set: {host: b}}}\n  rewrite: {authority: c}",
                "conflict",
                "8:15 spec.http[0].headers.request: the authority is set more than once",
            ),
            (
                "rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}",
                "conflict",
                "8:23 spec.http[0].rewrite.uriRegexRewrite",
            ),
            ("redirect: {port: 1, derivePort: FROM_REQUEST_PORT}", "conflict", "8:25 spec.http[0].redirect.derivePort"),
            ("redirect: {uri: /, prefixRewrite: /}", "conflict", "8:24 spec.http[0].redirect.prefixRewrite"),
            (
                "directResponse: {status: 200, body: {string: a, bytes: b}}",
                "conflict",
                "8:53 spec.http[0].directResponse.body.bytes",
            ),
            ("retries: {perTryTimeout: 1s}", "conflict", "8:5 spec.http[0].retries: `attempts` is 0 or missing"),
            (
                "fault: {abort: {httpStatus: 500, grpcStatus: OK, percentage: {value: 1}}}",
                "conflict",
                "8:38 spec.http[0].fault.abort.grpcStatus: stands beside `httpStatus`",
            ),
        ],
    );
}

/// Rule, code, place and message.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    ("timeout: 5x", "invalid-duration", "8:14 spec.http[0].timeout: `5x` is not a duration: write it like 5s"),
    (
        "timeout: 5",
        "invalid-type",
        "8:14 spec.http[0].timeout: has to be a string, but is integer `5`; put it in quotes",
    ),
    ("retries: {attempts: -1}", "out-of-range", "8:25 spec.http[0].retries.attempts: -1 is out of range"),
    (
        "retries: {attempts: 1, perTryTimeout: 1us}",
        "invalid-duration",
        "8:43 spec.http[0].retries.perTryTimeout: 1µs is too short",
    ),
    (
        "retries: {attempts: 1, retryOn: gateway-eror}",
        "invalid-value",
        "8:37 spec.http[0].retries.retryOn: `gateway-eror` is no condition and no status code, did you mean `gateway-error`?",
    ),
    ("fault: {}", "missing-field", "8:5 spec.http[0].fault: does nothing"),
    (
        "fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}",
        "out-of-range",
        "8:57 spec.http[0].fault.delay.percentage.value: 101 is not a percentage",
    ),
    (
        "fault: {abort: {grpcStatus: UNAVAILBLE, percentage: {value: 1}}}",
        "invalid-value",
        "8:33 spec.http[0].fault.abort.grpcStatus: `UNAVAILBLE` is not a gRPC status: did you mean UNAVAILABLE?",
    ),
    (
        "fault: {abort: {httpStatus: 99, percentage: {value: 1}}}",
        "out-of-range",
        "8:33 spec.http[0].fault.abort.httpStatus: 99 is not a status for an answer",
    ),
    ("directResponse: {}", "missing-field", "8:5 spec.http[0].directResponse: `status` is missing"),
    (
        "directResponse: {status: 200, body: {bytes: '!'}}",
        "invalid-value",
        "8:49 spec.http[0].directResponse.body.bytes: is not base64",
    ),
    ("redirect: {}", "missing-field", "8:5 spec.http[0].redirect: says not where to"),
    (
        "redirect: {uri: /, redirectCode: 300}",
        "invalid-value",
        "8:38 spec.http[0].redirect.redirectCode: 300 is not the status",
    ),
    ("redirect: {uri: /, scheme: ftp}", "invalid-value", "8:32 spec.http[0].redirect.scheme: `ftp` is not a scheme"),
    ("redirect: {uri: v2}", "invalid-value", "8:21 spec.http[0].redirect.uri: `v2` is not a path"),
    ("redirect: {authority: 'a b'}", "invalid-host", "8:27 spec.http[0].redirect.authority: `a b` is not a host"),
    ("redirect: {derivePort: FOO}", "invalid-value", "8:28 spec.http[0].redirect.derivePort: `FOO` is not known"),
    ("rewrite: {}", "missing-field", "8:5 spec.http[0].rewrite: changes nothing"),
    (
        "rewrite: {uriRegexRewrite: {match: '('}}",
        "missing-field",
        "8:15 spec.http[0].rewrite.uriRegexRewrite: `rewrite` is missing",
    ),
    (
        "rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}",
        "invalid-regex",
        "8:40 spec.http[0].rewrite.uriRegexRewrite.match: `(` is not a regular expression that can be used",
    ),
    (
        r"rewrite: {uriRegexRewrite: {match: a, rewrite: '\1'}}",
        "invalid-regex",
        r"8:52 spec.http[0].rewrite.uriRegexRewrite.rewrite: `\1` stands for a group that `match` does not have",
    ),
    ("delegate: {}", "missing-field", "8:5 spec.http[0].delegate: `name` is missing"),
    (
        "headers: {request: {set: {':path': /}}}",
        "invalid-header",
        "8:31 spec.http[0].headers.request.set.:path: `:path` is not a header",
    ),
    (
        "headers: {response: {add: {Content-Length: '0'}}}",
        "invalid-header",
        "8:32 spec.http[0].headers.response.add.Content-Length: `Content-Length` says how the message is carried",
    ),
    (
        "headers: {response: {set: {host: a}}}",
        "invalid-header",
        "8:32 spec.http[0].headers.response.set.host: answers have no `host`",
    ),
    (
        "headers: {request: {remove: [host]}}",
        "invalid-header",
        "8:34 spec.http[0].headers.request.remove[0]: `host` cannot be taken",
    ),
    (r#"headers: {request: {add: {x: "a\nb"}}}"#, "invalid-header", "8:34 spec.http[0].headers.request.add.x: "),
    ("mirror: {host: '*.b'}", "invalid-host", "8:20 spec.http[0].mirror.host: `*.b` has a wildcard"),
    (
        "corsPolicy: {allowMethods: [get]}",
        "invalid-value",
        "8:33 spec.http[0].corsPolicy.allowMethods[0]: `get` is not a method",
    ),
    ("corsPolicy: {maxAge: 1.5s}", "invalid-duration", "8:26 spec.http[0].corsPolicy.maxAge: has to be whole seconds"),
    (
        "corsPolicy: {allowOrigins: [{}]}",
        "missing-field",
        "8:33 spec.http[0].corsPolicy.allowOrigins[0]: names no origin",
    ),
    (
        "corsPolicy: {unmatchedPreflights: NO}",
        "invalid-value",
        "8:39 spec.http[0].corsPolicy.unmatchedPreflights: `NO` is not known",
    ),
];

#[test]
fn values_that_cannot_be() {
    table("error", false, IMPOSSIBLE);
}

#[test]
fn what_works_otherwise_than_it_looks() {
    let cases = [
        (
            "fault: {delay: {fixedDelay: 1s}}",
            "no-effect",
            "8:13 spec.http[0].fault.delay: without `percentage` no request is delayed (so it is in Istio)",
        ),
        ("fault: {delay: {percentage: {value: 1}}}", "no-effect", "8:13 spec.http[0].fault.delay: delays nothing"),
        ("fault: {delay: {percentage: {value: 1}}}", "no-effect", "8:13 spec.http[0].fault.delay: delays nothing"),
        ("fault: {delay: {fixedDelay: 1s, percent: 10}}", "deprecated-field", "8:37 spec.http[0].fault.delay.percent"),
        ("mirror: {host: b}\n  mirrorPercent: 10", "deprecated-field", "9:5 spec.http[0].mirrorPercent"),
        ("mirror: {host: b}\n  mirror_percent: 10", "deprecated-field", "9:5 spec.http[0].mirror_percent"),
        ("mirrorPercentage: {value: 1}", "no-effect", "8:5 spec.http[0].mirrorPercentage: is for `mirror`"),
        ("corsPolicy: {allowOrigin: [a]}", "deprecated-field", "8:18 spec.http[0].corsPolicy.allowOrigin"),
        ("retries: {attempts: 1, retryOn: retriable-status-codes}", "no-effect", "8:28 spec.http[0].retries.retryOn"),
    ];
    table("warning", true, &cases.map(|(rule, code, at)| (rule, code, at)));
}

#[test]
fn a_variable_in_a_header_breaks_its_rule_only() {
    let (found, _) = findings(
        "headers: {request: {set: {x: '%REQ(y)%'}}}\n  route: [{destination: {host: a}}]\n- route: [{destination: {host: a}}]",
    );
    let expected =
        "error unsupported-value f.yaml:8:31 spec.http[0].headers.request.set.x: `%REQ(y)%` has a variable of Envoy's";
    assert_findings(&found, &[expected]);
}

#[test]
fn an_object_that_was_spoilt_stays_as_it_was() {
    let dir = Dir::new(&[]);
    let text = |timeout: &str| {
        super::routes::virtual_service(&format!(
            "hosts: [a]\nhttp:\n- timeout: {timeout}\n  route: [{{destination: {{host: a}}}}]\n"
        ))
    };
    dir.write("f.yaml", &text("1s"));
    let mut files = crate::source::files::Files::new(dir.config());
    files.scan();
    assert_eq!(virtual_services(&files.world.update().unwrap()).len(), 1);
    dir.write("f.yaml", &text("1x"));
    files.scan();
    let update = files.world.update().unwrap();
    assert_eq!(update.changes, []);
    assert!(update.findings.iter().any(|finding| finding.code == "invalid-duration"), "{:?}", update.findings);
}
