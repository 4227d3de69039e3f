//! DestinationRule as written: the fields that are read. All others are known to the schema.

use crate::model::Labels;
use crate::source::decode::raw;
use std::collections::BTreeMap;

raw!(Spec {
    host: String,
    subsets: Vec<Subset>,
    export_to: Vec<String>,
    traffic_policy: Option<TrafficPolicy>,
    workload_selector: Option<Selector>,
});

raw!(Selector { match_labels: Labels });

raw!(Subset {
    name: String,
    labels: Labels,
    traffic_policy: Option<TrafficPolicy>,
});

raw!(TrafficPolicy {
    load_balancer: Option<LoadBalancer>,
    connection_pool: Option<ConnectionPool>,
    outlier_detection: Option<OutlierDetection>,
    tls: Option<Tls>,
    port_level_settings: Vec<PortSettings>,
    proxy_protocol: Option<ProxyProtocol>,
    retry_budget: Option<RetryBudget>,
    tunnel: Option<Tunnel>,
});

raw!(PortSettings {
    port: Option<Port>,
    load_balancer: Option<LoadBalancer>,
    connection_pool: Option<ConnectionPool>,
    outlier_detection: Option<OutlierDetection>,
    tls: Option<Tls>,
});

raw!(Port { number: i64 });

impl PortSettings {
    /// The parts that a policy for all ports has too.
    pub fn policy(&self) -> TrafficPolicy {
        TrafficPolicy {
            load_balancer: self.load_balancer.clone(),
            connection_pool: self.connection_pool.clone(),
            outlier_detection: self.outlier_detection.clone(),
            tls: self.tls.clone(),
            ..TrafficPolicy::default()
        }
    }
}

raw!(LoadBalancer {
    simple: Option<String>,
    consistent_hash: Option<ConsistentHash>,
    locality_lb_setting: Option<LocalitySetting>,
    warmup: Option<Warmup>,
    /// Deprecated: a warmup of nothing but its duration.
    warmup_duration_secs: Option<String>,
});

raw!(ConsistentHash {
    http_header_name: Option<String>,
    http_cookie: Option<Cookie>,
    use_source_ip: Option<bool>,
    http_query_parameter_name: Option<String>,
    ring_hash: Option<RingHash>,
    maglev: Option<Maglev>,
    /// Deprecated: that of `ring_hash`.
    minimum_ring_size: Option<i64>,
});

raw!(Cookie {
    name: String,
    path: String,
    ttl: Option<String>,
    attributes: Vec<Attribute>,
});

raw!(Attribute { name: String, value: String });

raw!(RingHash {
    minimum_ring_size: Option<i64>
});

raw!(Maglev { table_size: Option<i64> });

raw!(LocalitySetting {
    enabled: Option<bool>,
    distribute: Vec<Distribute>,
    failover: Vec<Failover>,
    failover_priority: Vec<String>,
});

raw!(Distribute {
    from: String,
    to: BTreeMap<String, i64>,
});

raw!(Failover { from: String, to: String });

raw!(Warmup {
    duration: Option<String>,
    minimum_percent: Option<f64>,
    aggression: Option<f64>,
});

raw!(ConnectionPool {
    tcp: Option<TcpPool>,
    http: Option<HttpPool>,
});

raw!(TcpPool {
    max_connections: Option<i64>,
    connect_timeout: Option<String>,
    tcp_keepalive: Option<Keepalive>,
    max_connection_duration: Option<String>,
    idle_timeout: Option<String>,
});

raw!(Keepalive {
    probes: Option<i64>,
    time: Option<String>,
    interval: Option<String>,
});

raw!(HttpPool {
    http1_max_pending_requests: Option<i64>,
    http2_max_requests: Option<i64>,
    max_requests_per_connection: Option<i64>,
    max_retries: Option<i64>,
    idle_timeout: Option<String>,
    h2_upgrade_policy: Option<String>,
    use_client_protocol: bool,
    max_concurrent_streams: Option<i64>,
    #[serde(rename = "http2KeepAlive")]
    http2_keepalive: Option<Http2Keepalive>,
});

raw!(Http2Keepalive {
    interval: Option<String>,
    timeout: Option<String>,
});

raw!(OutlierDetection {
    split_external_local_origin_errors: bool,
    consecutive_local_origin_failures: Option<i64>,
    consecutive_gateway_errors: Option<i64>,
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_server_errors: Option<i64>,
    interval: Option<String>,
    base_ejection_time: Option<String>,
    max_ejection_percent: Option<i64>,
    min_health_percent: Option<i64>,
    outlier_detection_http_error_codes: Vec<i64>,
});

raw!(Tls {
    mode: Option<String>,
    client_certificate: String,
    private_key: String,
    ca_certificates: String,
    credential_name: String,
    subject_alt_names: Vec<String>,
    sni: String,
    insecure_skip_verify: Option<bool>,
    ca_crl: String,
});

raw!(ProxyProtocol { version: Option<String> });

raw!(Tunnel {
    protocol: String,
    target_host: String,
    target_port: Option<i64>,
});

raw!(RetryBudget {
    percent: Option<f64>,
    min_retry_concurrency: Option<i64>,
    budget_interval: Option<String>,
});
