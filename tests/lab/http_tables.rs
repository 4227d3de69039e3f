//! The tables of [`crate::http_fields`]: matches and actions of VirtualService's http rules.

use crate::http_case::{Ask, Case};

/// Version 1 answered.
pub const V1: &[(&str, &str)] = &[("version", "v1")];
/// Version 2 answered.
pub const V2: &[(&str, &str)] = &[("version", "v2")];

const fn matching(field: &'static str, matching: &'static str, asks: &'static [Ask]) -> Case {
    Case { field, matching, action: "{to}", asks }
}

const fn action(field: &'static str, action: &'static str, asks: &'static [Ask]) -> Case {
    Case { field, matching: "", action, asks }
}

/// Whom a rule takes.
pub const MATCHES: &[Case] = &[
    matching("uri.exact", "uri: {exact: '{path}/a'}", &[(&[], "/a", V2), (&[], "/a?q=1", V2), (&[], "/a/b", V1)]),
    matching("uri.regex", "uri: {regex: '{path}/[0-9]+'}", &[(&[], "/42", V2), (&[], "/42x", V1)]),
    matching(
        "ignoreUriCase",
        "uri: {exact: '{path}/AbC'}, ignoreUriCase: true",
        &[(&[], "/aBc", V2), (&[], "/ab", V1)],
    ),
    matching("method", "method: {exact: PUT}", &[(&["-X", "PUT"], "", V2), (&["-X", "POST"], "", V1)]),
    matching(
        "headers.exact",
        "headers: {user: {exact: jason}}",
        &[(&["-H", "user: jason"], "", V2), (&["-H", "user: jasonx"], "", V1), (&[], "", V1)],
    ),
    matching(
        "headers.prefix",
        "headers: {user: {prefix: ja}}",
        &[(&["-H", "user: jason"], "", V2), (&["-H", "user: j"], "", V1)],
    ),
    matching(
        "headers.regex",
        "headers: {user: {regex: 'j.*n'}}",
        &[(&["-H", "user: jason"], "", V2), (&["-H", "user: jasonx"], "", V1)],
    ),
    matching("headers present", "headers: {user: {}}", &[(&["-H", "user: x"], "", V2), (&[], "", V1)]),
    matching(
        "withoutHeaders",
        "withoutHeaders: {user: {exact: jason}}",
        &[(&["-H", "user: jason"], "", V1), (&[], "", V2)],
    ),
    matching(
        "queryParams.exact",
        "queryParams: {q: {exact: 'a'}}",
        &[(&[], "?q=a", V2), (&[], "?x=1&q=a", V2), (&[], "?q=b", V1)],
    ),
    matching("queryParams.prefix", "queryParams: {q: {prefix: 'a'}}", &[(&[], "?q=abc", V2), (&[], "?q=ba", V1)]),
    matching("queryParams.regex", "queryParams: {q: {regex: '[0-9]+'}}", &[(&[], "?q=17", V2), (&[], "?q=17a", V1)]),
    matching(
        "authority",
        "authority: {exact: shop.example}",
        &[(&["-H", "host: shop.example"], "", V2), (&[], "", V1)],
    ),
    matching("scheme", "scheme: {exact: http}", &[(&[], "", V2)]),
    matching("scheme other", "scheme: {exact: https}", &[(&[], "", V1)]),
    matching("port", "port: 8080", &[(&[], "", V2)]),
    matching("port other", "port: 9", &[(&[], "", V1)]),
    matching("sourceLabels", "sourceLabels: {app: client}", &[(&[], "", V2)]),
    matching("sourceLabels other", "sourceLabels: {app: guest}", &[(&[], "", V1)]),
    matching("sourceNamespace", "sourceNamespace: default", &[(&[], "", V2)]),
    matching("sourceNamespace other", "sourceNamespace: other", &[(&[], "", V1)]),
    matching("gateways", "gateways: [mesh]", &[(&[], "", V2)]),
    matching("gateways other", "gateways: [some-gateway]", &[(&[], "", V1)]),
];

/// What a rule does.
pub const ACTIONS: &[Case] = &[
    action(
        "headers.request",
        "headers: {request: {set: {a: '1'}, add: {b: '2'}, remove: [gone]}}\n{to}",
        &[(
            &["-H", "a: 0", "-H", "b: 0", "-H", "gone: x"],
            "",
            &[(">a", "1"), (">b", "0, 2"), (">gone", ""), ("version", "v2")],
        )],
    ),
    action(
        "headers.request.set.host",
        "headers: {request: {set: {host: new.example}}}\n{to}",
        &[(&[], "", &[(">host", "new.example")])],
    ),
    action(
        "headers.response",
        "headers: {response: {set: {a: '1'}, add: {x-pod: more}, remove: [x-pod-cluster]}}\n{to}",
        &[(&[], "", &[("<a", "1"), ("<x-pod", "shop-v2, more"), ("<x-pod-cluster", "")])],
    ),
    action(
        "route.headers",
        "route: [{destination: {host: shop, subset: v2}, headers: {request: {set: {d: '1'}}, response: {set: {e: '2'}}}}]",
        &[(&[], "", &[(">d", "1"), ("<e", "2")])],
    ),
    action(
        "redirect.uri",
        "redirect: {uri: /new}",
        &[(&[], "/x", &[("status", "301"), ("<location", "http://shop:8080/new")])],
    ),
    action(
        "redirect.prefixRewrite",
        "redirect: {prefixRewrite: /new, redirectCode: 307}",
        &[(&[], "/x?q=1", &[("status", "307"), ("<location", "http://shop:8080/new/x?q=1")])],
    ),
    action(
        "redirect.authority",
        "redirect: {authority: b.example, scheme: https}",
        &[(&[], "/x", &[("<location", "https://b.example{path}/x")])],
    ),
    action("redirect.port", "redirect: {port: 81}", &[(&[], "", &[("<location", "http://shop:81{path}")])]),
    action(
        "rewrite.uri",
        "rewrite: {uri: /new}\n{to}",
        &[(&[], "/x?q=1", &[("path", "/new/x?q=1"), ("version", "v2")])],
    ),
    action("rewrite.authority", "rewrite: {authority: new.example}\n{to}", &[(&[], "", &[(">host", "new.example")])]),
    action(
        "rewrite.uriRegexRewrite",
        "rewrite: {uriRegexRewrite: {match: '/c[0-9]+/([^/]+)/([^/]+)', rewrite: '/\\2/\\1'}}\n{to}",
        &[(&[], "/a/b", &[("path", "/b/a")])],
    ),
    action(
        "directResponse",
        "directResponse: {status: 418, body: {string: 'short and stout'}}",
        &[(&[], "", &[("status", "418"), ("body", "short and stout")])],
    ),
    action(
        "directResponse.bytes",
        "directResponse: {status: 200, body: {bytes: aGVsbG8=}}",
        &[(&[], "", &[("body", "hello")])],
    ),
    action(
        "corsPolicy",
        "corsPolicy: {allowOrigins: [{exact: 'https://a.example'}], allowMethods: [GET, PUT], allowHeaders: [x-a], \
              exposeHeaders: [x-pod], maxAge: 1h, allowCredentials: true}\n{to}",
        &[
            (
                &["-X", "OPTIONS", "-H", "origin: https://a.example", "-H", "access-control-request-method: PUT"],
                "",
                &[
                    ("status", "200"),
                    ("<access-control-allow-origin", "https://a.example"),
                    ("<access-control-allow-methods", "GET,PUT"),
                    ("<access-control-allow-headers", "x-a"),
                    ("<access-control-max-age", "3600"),
                    ("<access-control-allow-credentials", "true"),
                    ("version", ""),
                ],
            ),
            (
                &["-H", "origin: https://a.example"],
                "",
                &[
                    ("version", "v2"),
                    ("<access-control-allow-origin", "https://a.example"),
                    ("<access-control-expose-headers", "x-pod"),
                ],
            ),
            (&["-H", "origin: https://evil.example"], "", &[("version", "v2"), ("<access-control-allow-origin", "")]),
        ],
    ),
];
