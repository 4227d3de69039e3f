//! VirtualService as written: the fields that are read. All others are known to the schema.

use crate::model::Labels;
use crate::source::decode::raw;
use crate::source::quantity::Percent;
use serde_json::Value;
use std::collections::BTreeMap;

raw!(Spec {
    hosts: Vec<String>,
    gateways: Vec<String>,
    export_to: Vec<String>,
    http: Vec<Http>,
    tcp: Vec<Tcp>,
    tls: Vec<Tls>,
});

raw!(Http {
    name: String,
    r#match: Vec<HttpMatch>,
    route: Vec<HttpRoute>,
    redirect: Option<Redirect>,
    direct_response: Option<DirectResponse>,
    delegate: Option<Delegate>,
    rewrite: Option<Rewrite>,
    timeout: Option<String>,
    retries: Option<Retries>,
    fault: Option<Fault>,
    mirror: Option<Destination>,
    mirrors: Vec<Mirror>,
    mirror_percent: Option<i64>,
    #[serde(rename = "mirror_percent")]
    mirror_percent_of_old: Option<i64>,
    mirror_percentage: Option<Percent>,
    cors_policy: Option<Cors>,
    headers: Headers,
});

raw!(HttpMatch {
    name: String,
    uri: Option<Text>,
    ignore_uri_case: bool,
    scheme: Option<Text>,
    method: Option<Text>,
    authority: Option<Text>,
    headers: BTreeMap<String, Text>,
    without_headers: BTreeMap<String, Text>,
    query_params: BTreeMap<String, Text>,
    port: Option<i64>,
    source_labels: Labels,
    source_namespace: String,
    gateways: Vec<String>,
});

raw!(
    /// Istio's StringMatch: one of these.
    Text {
        exact: Option<String>,
        prefix: Option<String>,
        regex: Option<String>,
    }
);

raw!(Headers { request: HeaderOps, response: HeaderOps });

raw!(HeaderOps {
    set: BTreeMap<String, String>,
    add: BTreeMap<String, String>,
    remove: Vec<String>,
});

raw!(Redirect {
    uri: String,
    authority: String,
    port: Option<i64>,
    derive_port: Option<String>,
    scheme: String,
    redirect_code: Option<i64>,
    prefix_rewrite: Option<String>,
});

raw!(DirectResponse {
    status: Option<i64>,
    body: Option<Body>,
});

raw!(Body {
    string: Option<String>,
    bytes: Option<String>,
});

raw!(Delegate { name: String, namespace: String });

raw!(Rewrite {
    uri: String,
    authority: String,
    uri_regex_rewrite: Option<RegexRewrite>,
});

raw!(RegexRewrite { r#match: String, rewrite: String });

raw!(Retries {
    attempts: i64,
    per_try_timeout: Option<String>,
    retry_on: String,
    retry_remote_localities: Option<bool>,
    retry_ignore_previous_hosts: Option<bool>,
    backoff: Option<String>,
});

raw!(Fault {
    delay: Option<Delay>,
    abort: Option<Abort>,
});

raw!(Delay {
    fixed_delay: Option<String>,
    /// Deprecated: whole per cent.
    percent: Option<i64>,
    percentage: Option<Percent>,
});

raw!(Abort {
    http_status: Option<i64>,
    grpc_status: Option<String>,
    percentage: Option<Percent>,
});

raw!(Mirror {
    destination: Destination,
    percentage: Option<Percent>,
});

raw!(Cors {
    /// Deprecated: exact origins.
    allow_origin: Vec<String>,
    allow_origins: Vec<Text>,
    allow_methods: Vec<String>,
    allow_headers: Vec<String>,
    expose_headers: Vec<String>,
    max_age: Option<String>,
    allow_credentials: bool,
    unmatched_preflights: Option<String>,
});

raw!(Tcp {
    r#match: Vec<L4Match>,
    route: Vec<Route>,
});

raw!(Tls {
    r#match: Vec<TlsMatch>,
    route: Vec<Route>,
});

raw!(L4Match {
    destination_subnets: Vec<String>,
    port: Option<i64>,
    source_labels: Labels,
    source_namespace: String,
    gateways: Vec<String>,
});

raw!(TlsMatch {
    sni_hosts: Vec<String>,
    destination_subnets: Vec<String>,
    port: Option<i64>,
    source_labels: Labels,
    source_namespace: String,
    gateways: Vec<String>,
});

impl TlsMatch {
    /// The conditions that TCP rules have too.
    pub fn connection(&self) -> L4Match {
        L4Match {
            destination_subnets: self.destination_subnets.clone(),
            port: self.port,
            source_labels: self.source_labels.clone(),
            source_namespace: self.source_namespace.clone(),
            gateways: self.gateways.clone(),
        }
    }
}

raw!(Route {
    destination: Destination,
    /// Anything: what is wrong with it breaks its rule only.
    weight: Option<Value>,
});

raw!(HttpRoute {
    destination: Destination,
    weight: Option<Value>,
    headers: Headers,
});

raw!(Destination {
    host: String,
    subset: String,
    port: Option<Port>,
});

raw!(Port { number: i64 });
