//! For each leaf a valid manifest without it, and one with it.

use super::leaves::{Kind, Leaf, steps};
use serde_json::{Map, Value, json};

/// What the samples lead to.
pub const AROUND: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 9080}, {name: grpc, port: 7}, {name: tls, port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 9080}, {name: grpc, port: 7}, {name: tls, port: 443}]}
"#;

/// What routes lead to beside that; DestinationRules of their own would conflict with it.
pub const SUBSETS: &str = r#"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other}
spec: {http: [{route: [{destination: {host: ratings}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec: {http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: user}
spec:
  hosts: [delegating.example]
  http:
  - {match: [{uri: {exact: /1}}], delegate: {name: other}}
  - {match: [{uri: {exact: /2}}], delegate: {name: x}}
  - {match: [{uri: {exact: /3}}], delegate: {name: other, namespace: x}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: x}
spec: {http: [{route: [{destination: {host: reviews.default.svc.cluster.local}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: x}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec: {host: ratings, subsets: [{name: x}]}
"#;

/// Leaves without an effect that needs none, and why.
pub const NEUTRAL: &[(&str, &str)] = &[
    ("AuthorizationPolicy action=ALLOW", "the default"),
    ("PeerAuthentication mtls.mode=UNSET", "it inherits, as without a mode"),
    ("RequestAuthentication jwtRules[].presence=OPTIONAL", "the default"),
    ("VirtualService http[].corsPolicy.unmatchedPreflights=FORWARD", "the default"),
    ("VirtualService http[].corsPolicy.unmatchedPreflights=UNSPECIFIED", "the default"),
    ("TCPRoute rules[].name", "a name is for people, and connections have no log of rules"),
    ("TLSRoute rules[].name", "a name is for people, and connections have no log of rules"),
    ("VirtualService http[].redirect.derivePort=FROM_PROTOCOL_DEFAULT", "the default, as in Envoy"),
];

/// The manifests for one leaf, or for one value of it.
pub struct Sample {
    /// The value, for enumerations.
    pub suffix: String,
    /// The spec without the leaf, or with another value where it is needed.
    pub without: Value,
    /// The spec with it.
    pub with: Value,
}

/// The kinds of which every leaf has to be right now.
pub const SETTLED: &[&str] = &[
    "VirtualService",
    "DestinationRule",
    "PeerAuthentication",
    "AuthorizationPolicy",
    "RequestAuthentication",
    "Sidecar",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
    "TLSRoute",
    "ReferenceGrant",
    "BackendTLSPolicy",
];

/// The samples of a leaf.
pub fn of(kind: &Kind, leaf: &Leaf) -> Vec<Sample> {
    let without = context(&kind.name, &leaf.path);
    let values: Vec<(String, Value)> = match leaf.values.as_slice() {
        [] => vec![(String::new(), value(leaf))],
        values => values.iter().map(|text| (format!("={text}"), typed(leaf, text))).collect(),
    };
    let sample = |(suffix, value)| {
        let mut with = without.clone();
        put(&mut with, &steps(&leaf.path), value);
        Sample { suffix, without: without.clone(), with }
    };
    let samples = values.into_iter().map(sample);
    // A value that stands there anyway shows nothing; others of the same leaf do.
    samples.filter(|sample| leaf.values.is_empty() || sample.with != sample.without).collect()
}

fn typed(leaf: &Leaf, text: &str) -> Value {
    match leaf.kind.starts_with("integer") {
        true => text.parse::<i64>().map_or(Value::Null, Value::from),
        false => text.into(),
    }
}

/// Sets the part at these steps, making what is not there.
fn put(value: &mut Value, steps: &[String], leaf: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *value = leaf;
        return;
    };
    if step == "0" {
        if value.as_array().is_none_or(Vec::is_empty) {
            *value = json!([null]);
        }
        put(&mut value[0], rest, leaf);
        return;
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    put(&mut value[step.as_str()], rest, leaf);
}

/// What stands around a leaf so that it is valid: the longest of these beginnings of its path.
fn context(kind: &str, path: &str) -> Value {
    match kind {
        "VirtualService" => virtual_service(path),
        "DestinationRule" => destination_rule(path),
        "PeerAuthentication" => peer_authentication(path),
        "AuthorizationPolicy" => authorization_policy(path),
        "RequestAuthentication" => request_authentication(path),
        "Sidecar" => json!({}),
        _ => super::gateway::context(kind, path),
    }
}

/// Ports count with a selector only.
fn peer_authentication(path: &str) -> Value {
    match path.starts_with("portLevelMtls") {
        true => json!({ "selector": { "matchLabels": { "a": "b" } } }),
        false => json!({}),
    }
}

fn authorization_policy(path: &str) -> Value {
    let at = |part: &str| path.starts_with(part);
    match path {
        _ if at("targetRef.") => json!({ "targetRef": { "kind": "Service", "name": "reviews" } }),
        _ if at("targetRefs") => json!({ "targetRefs": [{ "kind": "Service", "name": "reviews" }] }),
        _ if at("provider") => json!({ "action": "CUSTOM", "provider": { "name": "a" } }),
        _ if at("action") => json!({ "rules": [{}] }),
        _ if at("rules[].from") => json!({ "rules": [{ "from": [{ "source": { "ipBlocks": ["10.0.0.1"] } }] }] }),
        _ if at("rules[].to") => json!({ "rules": [{ "to": [{ "operation": { "ports": ["1"] } }] }] }),
        _ if at("rules[].when") => json!({ "rules": [{ "when": [{ "key": "source.ip", "values": ["10.0.0.1"] }] }] }),
        _ => json!({}),
    }
}

fn request_authentication(path: &str) -> Value {
    let at = |part: &str| path.starts_with(part);
    match path {
        _ if at("targetRef.") => json!({ "targetRef": { "kind": "Service", "name": "reviews" } }),
        _ if at("targetRefs") => json!({ "targetRefs": [{ "kind": "Service", "name": "reviews" }] }),
        _ if at("selector") => json!({}),
        _ if at("jwtRules[].fromHeaders") => {
            json!({ "jwtRules": [{ "issuer": "i", "fromHeaders": [{ "name": "a" }] }] })
        }
        _ if at("jwtRules[].outputClaim") => {
            json!({ "jwtRules": [{ "issuer": "i", "outputClaimToHeaders": [{ "claim": "c", "header": "h" }] }] })
        }
        // What is said of it anyway is what it has by default.
        "jwtRules[].timeout" => json!({ "jwtRules": [{ "issuer": "i", "timeout": "1s" }] }),
        _ => json!({ "jwtRules": [{ "issuer": "i" }] }),
    }
}

/// The part of a path and what goes with it, below the rule.
const HTTP: &[(&str, &str)] = &[
    ("corsPolicy", r#"{"route": [R], "corsPolicy": {"allowOrigins": [{"exact": "http://a"}], "maxAge": "1s"}}"#),
    ("corsPolicy.allowOrigin", r#"{"route": [R], "corsPolicy": {"maxAge": "1s"}}"#),
    ("delegate", r#"{"delegate": {"name": "other"}}"#),
    ("directResponse", r#"{"directResponse": {"status": 404}}"#),
    ("fault.abort", r#"{"route": [R], "fault": {"abort": {"httpStatus": 400, "percentage": {"value": 10}}}}"#),
    ("fault.abort.grpcStatus", r#"{"route": [R], "fault": {"abort": {"percentage": {"value": 10}}}}"#),
    ("fault.abort.http2Error", r#"{"route": [R], "fault": {"abort": {"percentage": {"value": 10}}}}"#),
    ("fault.delay", r#"{"route": [R], "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 10}}}}"#),
    ("fault.delay.percent", r#"{"route": [R], "fault": {"delay": {"fixedDelay": "1s"}}}"#),
    ("fault.delay.exponentialDelay", r#"{"route": [R], "fault": {"delay": {"percentage": {"value": 10}}}}"#),
    ("match[].ignoreUriCase", r#"{"route": [R], "match": [{"uri": {"exact": "/a"}}]}"#),
    ("mirror.", r#"{"route": [R], "mirror": {"host": "reviews"}}"#),
    ("mirrorP", r#"{"route": [R], "mirror": {"host": "ratings"}}"#),
    ("mirror_p", r#"{"route": [R], "mirror": {"host": "ratings"}}"#),
    ("mirrors", r#"{"route": [R], "mirrors": [{"destination": {"host": "reviews"}}]}"#),
    ("redirect", r#"{"redirect": {"authority": "a.com"}}"#),
    ("redirect.authority", r#"{"redirect": {"uri": "/a"}}"#),
    ("redirect.derivePort", r#"{"redirect": {"scheme": "https"}}"#),
    ("retries", r#"{"route": [R], "retries": {"attempts": 2}}"#),
    ("rewrite", r#"{"route": [R], "rewrite": {"authority": "a.com"}}"#),
    ("rewrite.authority", r#"{"route": [R], "rewrite": {"uri": "/a"}}"#),
    ("rewrite.uriRegexRewrite", r#"{"route": [R], "rewrite": {"uriRegexRewrite": {"match": "a", "rewrite": "b"}}}"#),
    (
        "route[].weight",
        r#"{"route": [{"destination": {"host": "reviews"}}, {"destination": {"host": "ratings"}, "weight": 7}]}"#,
    ),
    ("", r#"{"route": [R]}"#),
];

const L4: &[(&str, &str)] = &[
    (
        "route[].weight",
        r#"{"route": [{"destination": {"host": "reviews"}}, {"destination": {"host": "ratings"}, "weight": 7}]}"#,
    ),
    ("", r#"{"route": [R]}"#),
];

fn virtual_service(path: &str) -> Value {
    let (list, below) = path.split_once("[].").unwrap_or(("http", ""));
    let (list, below) = if ["http", "tcp", "tls"].contains(&list) { (list, below) } else { ("http", "") };
    let mut rule = longest(if list == "http" { HTTP } else { L4 }, below);
    if list == "tls" {
        rule["match"] = json!([{ "sniHosts": ["a.com"] }]);
        return json!({ "hosts": ["a.com", "b.com"], list: [rule] });
    }
    json!({ "hosts": ["reviews"], list: [rule] })
}

fn longest(contexts: &[(&str, &str)], path: &str) -> Value {
    let fits = contexts.iter().filter(|(start, _)| path.starts_with(start));
    let (_, text) = fits.max_by_key(|(start, _)| start.len()).unwrap();
    serde_json::from_str(&text.replace("[R]", r#"[{"destination": {"host": "reviews"}}]"#)).unwrap()
}

/// Below `trafficPolicy` and `portLevelSettings[]`.
const POLICY: &[(&str, &str)] = &[
    (
        "loadBalancer.consistentHash.httpCookie",
        r#"{"loadBalancer": {"consistentHash": {"httpCookie": {"name": "a", "ttl": "1s"}}}}"#,
    ),
    ("loadBalancer.consistentHash.m", r#"{"loadBalancer": {"consistentHash": {"useSourceIp": true}}}"#),
    ("loadBalancer.consistentHash.ringHash", r#"{"loadBalancer": {"consistentHash": {"useSourceIp": true}}}"#),
    (
        "loadBalancer.localityLbSetting.distribute",
        r#"{"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "region/zone/*", "to": {"region/zone/*": 100}}]}}}"#,
    ),
    (
        "loadBalancer.localityLbSetting.distribute[].to",
        r#"{"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "region/zone/*"}]}}}"#,
    ),
    (
        "loadBalancer.localityLbSetting.failover",
        r#"{"outlierDetection": {"consecutive5xxErrors": 3}, "loadBalancer": {"localityLbSetting": {"failover": [{"from": "us", "to": "eu"}]}}}"#,
    ),
    ("loadBalancer.localityLbSetting.failoverPriority", r#"{"outlierDetection": {"consecutive5xxErrors": 3}}"#),
    ("loadBalancer.localityLbSetting.enabled", r#"{"loadBalancer": {"simple": "RANDOM"}}"#),
    ("loadBalancer.warmup", r#"{"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "1s"}}}"#),
    ("loadBalancer.warmupDurationSecs", r#"{"loadBalancer": {"simple": "ROUND_ROBIN"}}"#),
    (
        "connectionPool.http.http2KeepAlive",
        r#"{"connectionPool": {"http": {"http2KeepAlive": {"interval": "1s", "timeout": "1s"}}}}"#,
    ),
    (
        "outlierDetection.consecutiveLocalOriginFailures",
        r#"{"outlierDetection": {"splitExternalLocalOriginErrors": true}}"#,
    ),
    ("outlierDetection", r#"{"outlierDetection": {"consecutive5xxErrors": 3}}"#),
    ("tls", r#"{"tls": {"mode": "SIMPLE"}}"#),
    ("tls.mode", "{}"),
    ("tls.clientCertificate", r#"{"tls": {"mode": "MUTUAL", "clientCertificate": "/a", "privateKey": "/b"}}"#),
    ("tls.privateKey", r#"{"tls": {"mode": "MUTUAL", "clientCertificate": "/a", "privateKey": "/b"}}"#),
    ("tunnel", r#"{"tunnel": {"targetHost": "a.com", "targetPort": 80}}"#),
    ("", "{}"),
];

fn destination_rule(path: &str) -> Value {
    let mut spec = json!({ "host": "reviews" });
    if path.starts_with("subsets[]") {
        spec["subsets"] = json!([{ "name": "v0" }]);
    }
    let policy = ["portLevelSettings[].", "trafficPolicy."].iter().find_map(|part| {
        let at = path.find(part)? + part.len();
        Some((&path[..at - 1], &path[at..]))
    });
    if let Some((policy, below)) = policy {
        let port = policy.ends_with("[]").then(|| ("port", json!({ "number": 9080 })));
        let mut content = longest(POLICY, below);
        if let Some((key, value)) = port {
            content[key] = value;
        }
        put(&mut spec, &steps(policy), content);
    }
    spec
}

/// A value that the leaf may have, by its name where its type says too little.
fn value(leaf: &Leaf) -> Value {
    let parts: Vec<&str> = leaf.path.split(['.', '[', '{']).filter(|part| !matches!(*part, "]" | "}")).collect();
    let (name, parent) = (parts[parts.len() - 1], parts.get(parts.len().wrapping_sub(2)).copied().unwrap_or_default());
    if let Some((_, text)) =
        VALUES.iter().find(|(names, _)| names.split(' ').any(|one| one == name || one == format!("{parent}.{name}")))
    {
        let value: Value = serde_json::from_str(text).unwrap();
        if leaf.kind.starts_with("string") == value.is_string() || leaf.kind.starts_with("boolean") {
            return value;
        }
    }
    match leaf.kind.split(':').next() {
        Some("boolean") => true.into(),
        Some("integer") => 7.into(),
        Some("number") => 50.into(),
        _ => "x".into(),
    }
}

const VALUES: &[(&str, &str)] = &[
    ("principals notPrincipals", r#""d/ns/a/sa/b""#),
    ("timeout perTryTimeout backoff maxAge fixedDelay exponentialDelay idleTimeout connectTimeout interval", r#""5s""#),
    ("time maxConnectionDuration baseEjectionTime duration warmupDurationSecs budgetInterval ttl", r#""5s""#),
    ("weightExpirationPeriod weightStabilizationPeriod weightUpdatePeriod request backendRequest", r#""5s""#),
    ("host hosts", r#""ratings""#),
    ("method.exact method.prefix method.regex", r#""GET""#),
    ("scheme.exact scheme.prefix scheme.regex redirect.scheme", r#""http""#),
    ("uri.exact uri.prefix uri.regex redirect.uri rewrite.uri prefixRewrite", r#""/x""#),
    ("allowOrigin allowOrigins.exact", r#""http://b""#),
    ("allowMethods", r#""GET""#),
    ("port port.number targetPort", "7"),
    ("redirectCode", "307"),
    ("directResponse.status abort.httpStatus outlierDetectionHttpErrorCodes", "503"),
    ("grpcStatus", r#""UNAVAILABLE""#),
    ("retryOn", r#""5xx""#),
    ("body.bytes", r#""aGVsbG8=""#),
    ("destinationSubnets sourceSubnet", r#""10.0.0.0/8""#),
    ("sniHosts", r#""b.com""#),
    ("route.weight", "93"),
    ("exportTo", r#"".""#),
    ("gateways", r#""front""#),
    ("distribute.to", "100"),
    ("attributes.name", r#""SameSite""#),
    ("tableSize", "101"),
    ("minimumRingSize", "2048"),
    ("aggression", "2"),
    ("subjectAltNames", r#""b.com""#),
    ("caCertificates clientCertificate privateKey caCrl", r#""/etc/certs/x.pem""#),
    ("tunnel.protocol", r#""POST""#),
    ("retryIgnorePreviousHosts", "false"),
    ("parentRefs.name backendRefs.name backendRef.name targetRefs.name to.name", r#""ratings""#),
    ("hostname hostnames", r#""b.com""#),
    ("replaceFullPath replacePrefixMatch path.value", r#""/x""#),
    ("subjectAltNames.uri", r#""spiffe://b/x""#),
    ("sectionName", r#""grpc""#),
    ("ipBlocks notIpBlocks remoteIpBlocks notRemoteIpBlocks when.values when.notValues", r#""10.0.0.0/8""#),
    ("operation.ports operation.notPorts", r#""7""#),
    ("operation.paths operation.notPaths", r#""/x""#),
    ("operation.methods operation.notMethods", r#""GET""#),
    ("targetRef.name", r#""ratings""#),
    ("allowOrigins", r#""http://b""#),
];
