//! DestinationRule: what it says, understood.

use super::{Dir, assert_findings, destination_rules};
use crate::model::proxy_tunnel::ProxyMethod;
use crate::model::traffic_policy::*;
use crate::model::{DestinationRule, PortPolicy};
use http::StatusCode;
use std::time::Duration;

/// A DestinationRule whose `spec` says this after its host, from line 7 on.
pub(super) fn text(rest: &str) -> String {
    let rest: String = rest.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: reviews\nspec:\n  host: reviews\n{rest}"
    )
}

/// The findings, without those about missing executors, and the object.
pub(super) fn read(rest: &str) -> (Vec<String>, Option<DestinationRule>) {
    let dir = Dir::new(&[("f.yaml", &text(rest))]);
    let findings = dir.findings().into_iter().filter(|line| !line.contains(" unsupported-field ")).collect();
    (findings, destination_rules(&dir.read()).pop())
}

/// A rule of which nothing may be said but that its executor is missing.
#[track_caller]
fn rule(rest: &str) -> DestinationRule {
    let (findings, rule) = read(rest);
    assert_findings(&findings, &[]);
    rule.unwrap()
}

#[track_caller]
fn policy(policy: &str) -> PortPolicy {
    rule(&format!("trafficPolicy: {{{policy}}}")).policy.any_port
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn subsets_have_labels_and_policies_of_their_own() {
    let rule = rule(
        "exportTo: ['.']\nworkloadSelector: {matchLabels: {app: web}}\ntrafficPolicy:\n  loadBalancer: {simple: RANDOM}\n  \
         portLevelSettings:\n  - port: {number: 80}\n    loadBalancer: {simple: ROUND_ROBIN}\nsubsets:\n- name: v1\n  \
         labels: {version: v1}\n  trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}\n- name: v2\n",
    );
    assert_eq!(rule.export_to.iter().map(|ns| ns.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!(rule.workload_selector.get("app").map(|value| &**value), Some("web"));
    let algorithm = |subset: Option<usize>, port| {
        let own = subset.map(|at| &rule.subsets[at].policy);
        TrafficPolicy::effective(&rule.policy, own, port).load_balancer.unwrap().algorithm
    };
    assert_eq!(algorithm(None, 81), Algorithm::Random);
    assert_eq!(algorithm(None, 80), Algorithm::RoundRobin);
    assert_eq!(algorithm(Some(0), 80), Algorithm::Passthrough);
    assert_eq!(algorithm(Some(1), 80), Algorithm::RoundRobin);
}

#[test]
fn algorithms() {
    for (text, expected) in [
        ("simple: LEAST_REQUEST", Algorithm::LeastRequest),
        ("simple: UNSPECIFIED", Algorithm::LeastRequest),
        ("simple: ROUND_ROBIN", Algorithm::RoundRobin),
        ("localityLbSetting: {enabled: false}", Algorithm::LeastRequest),
    ] {
        assert_eq!(policy(&format!("loadBalancer: {{{text}}}")).load_balancer.unwrap().algorithm, expected);
    }
}

#[test]
fn consistent_hashes() {
    let ring = HashTable::Ring { minimum: 1024 };
    let cookie = |ttl, path: Option<&str>, attributes: &[&str]| {
        HashKey::Cookie(HashCookie {
            name: "user".into(),
            path: path.map(Into::into),
            ttl,
            attributes: attributes.iter().map(|text| (*text).into()).collect(),
        })
    };
    for (text, key, table) in [
        ("httpHeaderName: X-User", HashKey::Header("x-user".parse().unwrap()), ring),
        ("useSourceIp: true", HashKey::SourceIp, ring),
        (
            "httpQueryParameterName: q, ringHash: {minimumRingSize: 7}",
            HashKey::QueryParameter("q".into()),
            HashTable::Ring { minimum: 7 },
        ),
        ("useSourceIp: true, maglev: {}", HashKey::SourceIp, HashTable::Maglev { size: 65_537 }),
        ("useSourceIp: true, maglev: {tableSize: 251}", HashKey::SourceIp, HashTable::Maglev { size: 251 }),
        ("httpCookie: {name: user}", cookie(None, None, &[]), ring),
        (
            "httpCookie: {name: user, ttl: 0s, path: /p, attributes: [{name: SameSite, value: Strict}, {name: Secure}]}",
            cookie(Some(Duration::ZERO), Some("/p"), &["SameSite=Strict", "Secure"]),
            ring,
        ),
    ] {
        let found = policy(&format!("loadBalancer: {{consistentHash: {{{text}}}}}")).load_balancer.unwrap().algorithm;
        assert_eq!(found, Algorithm::ConsistentHash { key, table }, "{text}");
    }
}

#[test]
fn localities_and_warmup() {
    let balancer =
        |text: &str| policy(&format!("loadBalancer: {{{text}}}, outlierDetection: {{}}")).load_balancer.unwrap();
    let locality = |text: &str| balancer(&format!("localityLbSetting: {{{text}}}")).locality.unwrap();
    assert_eq!(locality("enabled: false"), LocalityPolicy::Off);
    assert_eq!(locality("enabled: true"), LocalityPolicy::Failover(vec![]));
    assert_eq!(locality("failover: [{from: a, to: b}]"), LocalityPolicy::Failover(vec![("a".into(), "b".into())]));
    assert_eq!(
        locality("failoverPriority: [topology.istio.io/network, version=v1]"),
        LocalityPolicy::FailoverPriority(vec![
            ("topology.istio.io/network".into(), None),
            ("version".into(), Some("v1".into()))
        ])
    );
    assert_eq!(
        locality("distribute: [{from: a/b/*, to: {a/b/*: 80, c: 20}}]"),
        LocalityPolicy::Distribute(vec![("a/b/*".into(), vec![("a/b/*".into(), 80), ("c".into(), 20)])])
    );
    let warmup = balancer("warmup: {duration: 30s, minimumPercent: 5, aggression: 2.5}").warmup.unwrap();
    let expected = Warmup { duration: Duration::from_secs(30), minimum_percent: 5.0, aggression: 2.5 };
    assert_eq!(warmup, expected);
}

#[test]
fn connection_pools() {
    let pool = policy(
        "connectionPool: {tcp: {maxConnections: 100, connectTimeout: 30ms, maxConnectionDuration: 1h, idleTimeout: 0s, \
         tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, \
         maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 5s, h2UpgradePolicy: UPGRADE, \
         maxConcurrentStreams: 6, http2KeepAlive: {interval: 7s, timeout: 8s}}}",
    )
    .connection_pool
    .unwrap();
    let (tcp, http) = (pool.tcp, pool.http);
    assert_eq!((tcp.max_connections, tcp.connect_timeout), (Some(100), Some(Duration::from_millis(30))));
    assert_eq!((tcp.max_duration, tcp.idle_timeout), (secs(3600), Some(Duration::ZERO)));
    assert_eq!(tcp.keepalive, Some(Keepalive { probes: Some(3), time: secs(7200), interval: secs(75) }));
    assert_eq!((http.max_pending, http.max_requests), (Some(1), Some(2)));
    assert_eq!((http.max_requests_per_connection, http.max_retries), (Some(3), Some(4)));
    assert_eq!((http.idle_timeout, http.upgrade, http.max_streams), (secs(5), H2Upgrade::Upgrade, Some(6)));
    assert_eq!(http.h2_keepalive, secs(7).zip(secs(8)));
    let none = policy("connectionPool: {tcp: {maxConnections: 0}, http: {h2UpgradePolicy: DO_NOT_UPGRADE}}");
    let none = none.connection_pool.unwrap();
    assert_eq!((none.tcp.max_connections, none.http.upgrade), (None, H2Upgrade::Never));
}

#[test]
fn outlier_detection() {
    let outlier = |text: &str| policy(&format!("outlierDetection: {{{text}}}")).outlier.unwrap();
    let least = outlier("interval: 1s");
    assert_eq!((least.gateway_errors, least.server_errors, least.local_failures), (0, 5, 5));
    assert_eq!((least.base_ejection, least.max_ejection_percent), (Duration::from_secs(30), 10));
    let full = outlier(
        "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, consecutiveGatewayErrors: 3, \
         consecutive5xxErrors: 0, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 100, minHealthPercent: 50, \
         outlierDetectionHttpErrorCodes: [429, 500]",
    );
    assert!(full.split_local);
    assert_eq!((full.local_failures, full.gateway_errors, full.server_errors), (2, 3, 0));
    assert_eq!((full.interval, full.base_ejection), (Duration::from_secs(300), Duration::from_secs(900)));
    assert_eq!((full.max_ejection_percent, full.min_health_percent), (100, 50));
    assert_eq!(full.statuses, [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR]);
}

#[test]
fn tls_and_what_comes_before_it() {
    let tls = |text: &str| policy(&format!("tls: {{{text}}}")).tls.unwrap();
    assert_eq!(tls("mode: ISTIO_MUTUAL").mode, ClientTlsMode::IstioMutual);
    assert_eq!(tls("sni: a.b").mode, ClientTlsMode::Disable);
    let simple =
        tls("mode: SIMPLE, sni: a.b, subjectAltNames: [a.b, 'spiffe://a/b'], caCertificates: /ca.pem, caCrl: /crl.pem");
    assert_eq!((simple.sni.as_deref(), simple.crl.as_deref()), (Some("a.b"), Some("/crl.pem")));
    assert_eq!(simple.names, [SubjectName::Dns("a.b".into()), SubjectName::Uri("spiffe://a/b".into())]);
    assert_eq!((simple.roots, simple.certificate), (Roots::File("/ca.pem".into()), None));
    let mutual = tls("mode: MUTUAL, clientCertificate: /c, privateKey: /k, insecureSkipVerify: true");
    let files = CertificateSource::Files { chain: "/c".into(), key: "/k".into() };
    assert_eq!((mutual.certificate, mutual.roots, mutual.insecure), (Some(files), Roots::System, true));
    let secret = tls("mode: MUTUAL, credentialName: creds");
    let Some(CertificateSource::Secret(id)) = &secret.certificate else { panic!("{secret:?}") };
    assert_eq!((id.to_string(), &secret.roots), ("default/creds".to_owned(), &Roots::Secret(id.clone())));
    assert_eq!(policy("proxyProtocol: {version: V2}").proxy_protocol, Some(ProxyProtocol::V2));
    assert_eq!(policy("proxyProtocol: {}").proxy_protocol, Some(ProxyProtocol::V1));
    let tunnel = |text: &str| policy(&format!("tunnel: {{{text}, targetPort: 443}}")).tunnel.unwrap();
    assert_eq!(tunnel("targetHost: Far.example").authority(), "Far.example:443");
    assert_eq!(tunnel("targetHost: 'fd00::1'").authority(), "[fd00::1]:443");
    let methods = ["CONNECT", "POST"].map(|method| tunnel(&format!("protocol: {method}, targetHost: a")).method);
    assert_eq!(methods, [ProxyMethod::Connect, ProxyMethod::Post]);
    let budget = policy("retryBudget: {percent: 12.5}").retry_budget;
    assert_eq!(budget, Some(RetryBudget { percent: 12.5, minimum: 3, interval: None }));
    let budget = policy("retryBudget: {minRetryConcurrency: 1, budgetInterval: 10s}").retry_budget.unwrap();
    assert_eq!((budget.percent, budget.interval), (20.0, Some(Duration::from_secs(10))));
}
