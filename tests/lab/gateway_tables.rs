//! The tables of [`crate::gateway_fields`]: matches, filters, times and references of HTTPRoute.

use crate::http_case::{Ask, Case};
use crate::http_tables::{V1, V2};

/// Nothing can be done with the rule as it is written.
const BROKEN: &[(&str, &str)] = &[("status", "500"), ("version", "")];

const fn matching(field: &'static str, matching: &'static str, asks: &'static [Ask]) -> Case {
    Case { field, matching, action: "{to}", asks }
}

const fn action(field: &'static str, action: &'static str, asks: &'static [Ask]) -> Case {
    Case { field, matching: "", action, asks }
}

/// Whom a rule takes.
pub const MATCHES: &[Case] = &[
    matching(
        "path Exact",
        "path: {type: Exact, value: '{path}/a'}",
        &[(&[], "/a", V2), (&[], "/a?q=1", V2), (&[], "/a/", V1), (&[], "/a/b", V1), (&[], "/A", V1)],
    ),
    matching(
        "path PathPrefix is of whole elements",
        "path: {type: PathPrefix, value: '{path}/a'}",
        &[(&[], "/a", V2), (&[], "/a/", V2), (&[], "/a/b", V2), (&[], "/ab", V1), (&[], "/a?q", V2)],
    ),
    matching(
        "path PathPrefix with a slash at its end",
        "path: {type: PathPrefix, value: '{path}/a/'}",
        &[(&[], "/a", V2), (&[], "/a/b", V2), (&[], "/ab", V1)],
    ),
    matching(
        "path RegularExpression",
        "path: {type: RegularExpression, value: '{path}/[0-9]+'}",
        &[(&[], "/42", V2), (&[], "/42x", V1)],
    ),
    matching("method", "method: PUT", &[(&["-X", "PUT"], "", V2), (&["-X", "POST"], "", V1)]),
    matching(
        "headers Exact",
        "headers: [{name: User, value: jason}]",
        &[(&["-H", "user: jason"], "", V2), (&["-H", "user: jasonx"], "", V1), (&[], "", V1)],
    ),
    matching(
        "headers RegularExpression",
        "headers: [{type: RegularExpression, name: user, value: 'j.*n'}]",
        &[(&["-H", "user: jason"], "", V2), (&["-H", "user: jasonx"], "", V1)],
    ),
    matching(
        "all headers have to match",
        "headers: [{name: a, value: '1'}, {name: b, value: '2'}]",
        &[(&["-H", "a: 1", "-H", "b: 2"], "", V2), (&["-H", "a: 1"], "", V1)],
    ),
    matching(
        "queryParams Exact",
        "queryParams: [{name: q, value: a}]",
        &[(&[], "?q=a", V2), (&[], "?x=1&q=a", V2), (&[], "?q=b", V1), (&[], "?Q=a", V1)],
    ),
    matching(
        "queryParams RegularExpression",
        "queryParams: [{type: RegularExpression, name: q, value: '[0-9]+'}]",
        &[(&[], "?q=17", V2), (&[], "?q=17a", V1)],
    ),
    matching(
        "any of several matches",
        "path: {type: Exact, value: '{path}/a'}}, {path: {type: Exact, value: '{path}/b'}, method: PUT",
        &[(&[], "/a", V2), (&[], "/b", V1), (&["-X", "PUT"], "/b", V2)],
    ),
];

/// What is done to requests and answers.
pub const FILTERS: &[Case] = &[
    action(
        "RequestHeaderModifier",
        "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: '1'}], \
         add: [{name: b, value: '2'}], remove: [gone]}}]\n{to}",
        &[(
            &["-H", "a: 0", "-H", "b: 0", "-H", "gone: x"],
            "",
            &[(">a", "1"), (">b", "0, 2"), (">gone", ""), ("version", "v2")],
        )],
    ),
    action(
        "ResponseHeaderModifier",
        "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: '1'}], \
         add: [{name: x-pod, value: more}], remove: [x-pod-cluster]}}]\n{to}",
        &[(&[], "", &[("<a", "1"), ("<x-pod", "shop-v2, more"), ("<x-pod-cluster", "")])],
    ),
    action(
        "backendRefs.filters: headers",
        "backendRefs: [{name: shop-v2, port: 8080, filters: [{type: RequestHeaderModifier, \
         requestHeaderModifier: {set: [{name: d, value: '1'}]}}, {type: ResponseHeaderModifier, \
         responseHeaderModifier: {add: [{name: e, value: '2'}]}}]}]",
        &[(&[], "", &[(">d", "1"), ("<e", "2"), ("version", "v2")])],
    ),
    action(
        "backendRefs.filters: URLRewrite",
        "backendRefs: [{name: shop-v2, port: 8080, filters: [{type: URLRewrite, \
         urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}]",
        &[(&[], "/x?q=1", &[("path", "/new/x?q=1"), (">host", "new.example")])],
    ),
    action(
        "backendRefs.filters: RequestRedirect",
        "backendRefs: [{name: shop-v2, port: 8080, filters: [{type: RequestRedirect, \
         requestRedirect: {hostname: b.example, port: 81}}]}]",
        &[(&[], "/x", &[("status", "302"), ("<location", "http://b.example:81{path}/x")])],
    ),
    action(
        "backendRefs.filters: CORS",
        "backendRefs: [{name: shop-v2, port: 8080, filters: [{type: CORS, cors: {allowOrigins: ['https://a.example']}}]}]",
        &[(
            &["-H", "origin: https://a.example"],
            "",
            &[("version", "v2"), ("<access-control-allow-origin", "https://a.example")],
        )],
    ),
    action(
        "RequestRedirect hostname, scheme",
        "filters: [{type: RequestRedirect, requestRedirect: {hostname: b.example, scheme: https}}]",
        &[(&[], "/x?q=1", &[("status", "302"), ("<location", "https://b.example{path}/x?q=1")])],
    ),
    action(
        "RequestRedirect port, statusCode",
        "filters: [{type: RequestRedirect, requestRedirect: {port: 81, statusCode: 301}}]",
        &[(&[], "", &[("status", "301"), ("<location", "http://shop:81{path}")])],
    ),
    action(
        "RequestRedirect path ReplaceFullPath",
        "filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]",
        &[(&[], "/x", &[("<location", "http://shop:8080/new")])],
    ),
    action(
        "RequestRedirect path ReplacePrefixMatch",
        "filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}]",
        &[
            (&[], "/x?q=1", &[("<location", "http://shop:8080/new/x?q=1")]),
            (&[], "", &[("<location", "http://shop:8080/new")]),
        ],
    ),
    action(
        "URLRewrite hostname",
        "filters: [{type: URLRewrite, urlRewrite: {hostname: new.example}}]\n{to}",
        &[(&[], "/x", &[(">host", "new.example"), ("path", "{path}/x"), ("version", "v2")])],
    ),
    action(
        "URLRewrite path ReplaceFullPath",
        "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]\n{to}",
        &[(&[], "/x?q=1", &[("path", "/new?q=1")])],
    ),
    action(
        "URLRewrite path ReplacePrefixMatch",
        "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]\n{to}",
        &[(&[], "/x?q=1", &[("path", "/x?q=1")]), (&[], "", &[("path", "/")])],
    ),
    action(
        "CORS",
        "filters: [{type: CORS, cors: {allowOrigins: ['https://a.example', 'https://*.b.example'], \
         allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-pod], maxAge: 60, allowCredentials: true}}]\n{to}",
        &[
            (
                &["-X", "OPTIONS", "-H", "origin: https://a.example", "-H", "access-control-request-method: PUT"],
                "",
                &[
                    ("<access-control-allow-origin", "https://a.example"),
                    ("<access-control-allow-methods", "GET,PUT"),
                    ("<access-control-allow-headers", "x-a"),
                    ("<access-control-max-age", "60"),
                    ("<access-control-allow-credentials", "true"),
                    ("version", ""),
                ],
            ),
            (
                &["-H", "origin: https://x.b.example"],
                "",
                &[
                    ("version", "v2"),
                    ("<access-control-allow-origin", "https://x.b.example"),
                    ("<access-control-expose-headers", "x-pod"),
                ],
            ),
            (&["-H", "origin: https://evil.example"], "", &[("version", "v2"), ("<access-control-allow-origin", "")]),
        ],
    ),
    action(
        "ExtensionRef is not skipped",
        "filters: [{type: ExtensionRef, extensionRef: {group: a.example, kind: A, name: a}}]\n{to}",
        &[(&[], "", BROKEN)],
    ),
    action(
        "timeouts.request",
        "timeouts: {request: 300ms}\n{strip}{to}",
        &[(&[], "/delay/2000", &[("status", "504")]), (&[], "/delay/1", &[("status", "200")])],
    ),
    action(
        "timeouts.backendRequest",
        "timeouts: {request: 5s, backendRequest: 300ms}\n{strip}{to}",
        &[(&[], "/delay/2000", &[("status", "504")])],
    ),
    action(
        "retry",
        "retry: {codes: [503], attempts: 2, backoff: 10ms}\n{strip}{to}",
        &[
            (&["-H", "x-request-id: g1"], "/fail/2", &[("status", "200")]),
            (&["-H", "x-request-id: g2"], "/fail/9", &[("status", "503")]),
        ],
    ),
    action(
        "retry of other codes",
        "retry: {codes: [500], attempts: 2}\n{strip}{to}",
        &[(&["-H", "x-request-id: g3"], "/fail/1", &[("status", "503")])],
    ),
];

/// Where a rule leads.
pub const REFERENCES: &[Case] = &[
    action("a backend that is not there", "backendRefs: [{name: nobody, port: 8080}]", &[(&[], "", BROKEN)]),
    action("a port that is not there", "backendRefs: [{name: shop-v2, port: 1}]", &[(&[], "", BROKEN)]),
    action(
        "a kind that is not known",
        "backendRefs: [{group: a.example, kind: Bucket, name: shop-v2, port: 8080}]",
        &[(&[], "", BROKEN)],
    ),
    action("no backend", "backendRefs: []", &[(&[], "", BROKEN)]),
    action("weights that are all 0", "backendRefs: [{name: shop-v2, port: 8080, weight: 0}]", &[(&[], "", BROKEN)]),
    action(
        "a backend without endpoints",
        "backendRefs: [{name: empty, port: 8080}]",
        &[(&[], "", &[("status", "503")])],
    ),
    action(
        "another namespace, granted",
        "backendRefs: [{name: granted, namespace: other, port: 8080}]",
        &[(&[], "", &[("status", "200"), ("namespace", "other")])],
    ),
    action(
        "another namespace, not granted",
        "backendRefs: [{name: refused, namespace: other, port: 8080}]",
        &[(&[], "", BROKEN)],
    ),
    action("another port", "backendRefs: [{name: shop-v2, port: 8081}]", &[(&[], "", V2)]),
    action(
        "weight 0 beside another",
        "backendRefs: [{name: shop-v1, port: 8080, weight: 0}, {name: shop-v2, port: 8080, weight: 1}]",
        &[(&[], "", V2), (&[], "", V2), (&[], "", V2)],
    ),
];
