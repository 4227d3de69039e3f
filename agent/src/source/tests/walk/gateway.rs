//! What stands around the leaves of the Gateway API's kinds so that they are valid.

use serde_json::{Value, json};

/// The spec around a leaf.
pub fn context(kind: &str, path: &str) -> Value {
    match kind {
        "ReferenceGrant" => json!({
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "other" }],
            "to": [{ "group": "", "kind": "Service" }],
        }),
        "BackendTLSPolicy" => backend_tls_policy(path),
        _ => route(kind, path),
    }
}

fn backend_tls_policy(path: &str) -> Value {
    let mut spec = json!({
        "targetRefs": [{ "group": "", "kind": "Service", "name": "reviews" }],
        "validation": { "hostname": "a.com", "wellKnownCACertificates": "System" },
    });
    if path.starts_with("validation.caCertificateRefs") {
        let reference = json!({ "group": "", "kind": "ConfigMap", "name": "ca" });
        spec["validation"] = json!({ "hostname": "a.com", "caCertificateRefs": [reference] });
    }
    if path.starts_with("validation.subjectAltNames") {
        let uri = path.ends_with("uri");
        let (kind, key, value) = if uri { ("URI", "uri", "spiffe://a/x") } else { ("Hostname", "hostname", "a.com") };
        spec["validation"]["subjectAltNames"] = json!([{ "type": kind, key: value }]);
    }
    spec
}

fn route(kind: &str, path: &str) -> Value {
    let port = if kind == "TLSRoute" { 443 } else { 9080 };
    let mut parent = json!({ "group": "", "kind": "Service", "name": "reviews", "port": port });
    if path.ends_with("sectionName") {
        parent.as_object_mut().unwrap().remove("port");
    }
    let mut rule = json!({ "backendRefs": [{ "name": "reviews", "port": port }] });
    if let Some(matched) = condition(kind, path) {
        rule["matches"] = json!([matched]);
    }
    if let Some((at, below)) = path.split_once("filters[].") {
        let filter = filter(below);
        match at.contains("backendRefs") {
            true => rule["backendRefs"][0]["filters"] = json!([filter]),
            false => rule["filters"] = json!([filter]),
        }
        // A redirect leaves nothing to send anywhere.
        if below.starts_with("requestRedirect") && !at.contains("backendRefs") {
            rule.as_object_mut().unwrap().remove("backendRefs");
        }
        if below.contains("replacePrefixMatch") || below.contains("path.type") {
            rule["matches"] = json!([{ "path": { "type": "PathPrefix", "value": "/p" } }]);
        }
    }
    let mut spec = json!({ "parentRefs": [parent], "rules": [rule] });
    if kind == "TLSRoute" {
        spec["hostnames"] = json!(["a.com"]);
    }
    spec
}

/// A match that the leaf can be a part of, with values that are not the defaults.
fn condition(kind: &str, path: &str) -> Option<Value> {
    let below = path.split_once("matches[].")?.1;
    let pattern = json!([{ "name": "a", "value": "b", "type": "RegularExpression" }]);
    Some(match below.split(['.', '[']).next()? {
        "headers" => json!({ "headers": pattern }),
        "queryParams" => json!({ "queryParams": pattern }),
        "path" => json!({ "path": { "type": "Exact", "value": "/a" } }),
        "method" if kind == "GRPCRoute" => {
            json!({ "method": { "type": "RegularExpression", "service": "a", "method": "b" } })
        }
        _ => json!({}),
    })
}

/// A filter of the kind that the leaf belongs to.
fn filter(below: &str) -> Value {
    let path = |text: &str| match below.contains("replacePrefixMatch") {
        true => json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": text }),
        false => json!({ "type": "ReplaceFullPath", "replaceFullPath": text }),
    };
    let with_path = below.contains(".path.");
    let headers = json!({
        "add": [{ "name": "a", "value": "b" }], "set": [{ "name": "s", "value": "t" }], "remove": ["r"],
    });
    match below.split('.').next().unwrap_or_default() {
        "cors" => json!({ "type": "CORS", "cors": { "allowOrigins": ["http://a"] } }),
        "extensionRef" => {
            json!({ "type": "ExtensionRef", "extensionRef": { "group": "a", "kind": "B", "name": "c" } })
        }
        "responseHeaderModifier" => json!({ "type": "ResponseHeaderModifier", "responseHeaderModifier": headers }),
        "requestMirror" => mirror(below),
        "requestRedirect" if with_path => {
            json!({ "type": "RequestRedirect", "requestRedirect": { "path": path("/a") } })
        }
        "requestRedirect" if below.ends_with("hostname") => {
            json!({ "type": "RequestRedirect", "requestRedirect": { "statusCode": 301 } })
        }
        "requestRedirect" => {
            json!({ "type": "RequestRedirect", "requestRedirect": { "hostname": "a.com", "statusCode": 301 } })
        }
        "urlRewrite" if with_path => json!({ "type": "URLRewrite", "urlRewrite": { "path": path("/a") } }),
        "urlRewrite" => json!({ "type": "URLRewrite", "urlRewrite": { "hostname": "a.com" } }),
        _ => json!({ "type": "RequestHeaderModifier", "requestHeaderModifier": headers }),
    }
}

fn mirror(below: &str) -> Value {
    let mut mirror = json!({ "backendRef": { "name": "reviews", "port": 9080 } });
    if below.contains("fraction") {
        mirror["fraction"] = json!({ "numerator": 3, "denominator": 50 });
    }
    json!({ "type": "RequestMirror", "requestMirror": mirror })
}
