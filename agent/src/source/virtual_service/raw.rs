//! VirtualService as written: the fields that are implemented. All others are known to the schema.

use crate::model::Labels;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub hosts: Vec<String>,
    pub gateways: Vec<String>,
    pub export_to: Vec<String>,
    pub http: Vec<Http>,
    pub tcp: Vec<L4>,
    pub tls: Vec<L4>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Http {
    pub name: String,
    pub r#match: Vec<HttpMatch>,
    pub route: Vec<Route>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// Only for people.
    #[allow(dead_code)]
    pub name: String,
    pub uri: Option<Text>,
    pub ignore_uri_case: bool,
    pub method: Option<Text>,
    pub authority: Option<Text>,
    pub headers: BTreeMap<String, Text>,
    pub without_headers: BTreeMap<String, Text>,
    pub port: Option<i64>,
    pub source_labels: Labels,
    pub source_namespace: String,
    pub gateways: Vec<String>,
}

/// Istio's StringMatch: one of these.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Text {
    pub exact: Option<String>,
    pub prefix: Option<String>,
    pub regex: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct L4 {
    pub r#match: Vec<L4Match>,
    pub route: Vec<Route>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct L4Match {
    pub destination_subnets: Vec<String>,
    pub port: Option<i64>,
    pub source_labels: Labels,
    pub source_namespace: String,
    pub gateways: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Route {
    pub destination: Destination,
    /// Anything: what is wrong with it breaks its rule only.
    pub weight: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Destination {
    pub host: String,
    pub subset: String,
    pub port: Option<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Port {
    pub number: i64,
}
