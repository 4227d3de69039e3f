//! The policy in force for a destination, and where it came from.

use crate::model::Workload;
use crate::model::traffic_policy::{
    Algorithm, ClientTls, ConnectionPool, HashKey, LoadBalancer, LocalityPolicy, OutlierDetection, PortPolicy,
};
use crate::route::{Backends, Upstream};
use serde_json::{Map, Value, json};

/// Endpoints and policy of an upstream, as a client meets it.
pub(super) fn of(upstream: &Upstream, backends: &Backends, source: &Workload) -> Value {
    let rule = backends.rule_of(source);
    json!({
        "endpoints": upstream.group.ready().len(),
        "unready": upstream.group.unready(),
        "destinationRule": rule.map(|rule| json!({ "id": rule.id.to_string(), "at": rule.origin.to_string() })),
        "policy": parts(&upstream.policy),
    })
}

fn parts(policy: &PortPolicy) -> Value {
    let mut parts = Map::new();
    let balancer = policy.load_balancer.as_ref().map_or_else(|| "LEAST_REQUEST (default)".to_owned(), balancer);
    parts.insert("loadBalancer".to_owned(), balancer.into());
    let pool = policy.connection_pool.as_ref().map(pool).filter(|text| !text.is_empty());
    let outlier = policy.outlier.as_ref().map(outlier);
    let tls = policy.tls.as_ref().map(tls);
    let proxy = policy.proxy_protocol.map(|version| format!("{version:?}"));
    let budget = policy.retry_budget.map(|budget| {
        let lately = budget.interval.map(|interval| format!(" of the last {interval:?}")).unwrap_or_default();
        format!("{}% of requests{lately}, at least {}", budget.percent, budget.minimum)
    });
    let tunnel = policy.tunnel.as_ref().map(|tunnel| format!("{:?} {}", tunnel.method, tunnel.authority()));
    for (name, text) in [
        ("connectionPool", pool),
        ("outlierDetection", outlier),
        ("tls", tls),
        ("proxyProtocol", proxy),
        ("retryBudget", budget),
        ("tunnel", tunnel),
    ] {
        parts.extend(text.map(|text| (name.to_owned(), Value::from(text))));
    }
    Value::Object(parts)
}

fn balancer(balancer: &LoadBalancer) -> String {
    let algorithm = match &balancer.algorithm {
        Algorithm::LeastRequest => "LEAST_REQUEST".to_owned(),
        Algorithm::RoundRobin => "ROUND_ROBIN".to_owned(),
        Algorithm::Random => "RANDOM".to_owned(),
        Algorithm::Passthrough => "PASSTHROUGH".to_owned(),
        Algorithm::ConsistentHash { key, table } => format!("consistent hash of {} ({table:?})", hashed(key)),
    };
    let locality = balancer.locality.as_ref().map(|locality| match locality {
        LocalityPolicy::Off => ", locality off",
        LocalityPolicy::Distribute(_) => ", distributed over localities",
        LocalityPolicy::Failover(_) | LocalityPolicy::FailoverPriority(_) => ", nearest first",
    });
    let warmup = balancer.warmup.map(|warmup| format!(", warmup {:?}", warmup.duration)).unwrap_or_default();
    format!("{algorithm}{}{warmup}", locality.unwrap_or_default())
}

fn hashed(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(cookie) => format!("cookie {}", cookie.name),
        HashKey::SourceIp => "the client's address".to_owned(),
        HashKey::QueryParameter(name) => format!("query parameter {name}"),
    }
}

fn pool(pool: &ConnectionPool) -> String {
    let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
    let time = |name: &str, value: Option<std::time::Duration>| value.map(|value| format!("{name} {value:?}"));
    let parts = [
        number("maxConnections", pool.tcp.max_connections),
        time("connectTimeout", pool.tcp.connect_timeout),
        time("maxConnectionDuration", pool.tcp.max_duration),
        time("idleTimeout", pool.tcp.idle_timeout),
        number("http1MaxPendingRequests", pool.http.max_pending),
        number("http2MaxRequests", pool.http.max_requests),
        number("maxRequestsPerConnection", pool.http.max_requests_per_connection),
        number("maxRetries", pool.http.max_retries),
        time("http.idleTimeout", pool.http.idle_timeout),
        number("maxConcurrentStreams", pool.http.max_streams),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn outlier(outlier: &OutlierDetection) -> String {
    let count = |name: &str, value: u32| (value > 0).then(|| format!("{value} {name}"));
    let counts = [
        count("5xx in a row", outlier.server_errors),
        count("gateway errors in a row", outlier.gateway_errors),
        count("failed connections in a row", if outlier.split_local { outlier.local_failures } else { 0 }),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    format!(
        "out for {:?} after {}, at most {}%",
        outlier.base_ejection,
        counts.join(" or "),
        outlier.max_ejection_percent
    )
}

fn tls(tls: &ClientTls) -> String {
    let sni = tls.sni.as_ref().map(|sni| format!(", SNI {sni}")).unwrap_or_default();
    format!("{:?}{sni}", tls.mode)
}
