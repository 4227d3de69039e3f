//! What an operator sees of connections and requests; here, what the tests are made of.

mod agent;
mod log;
mod metrics;

use super::*;
use crate::model::{TunnelProtocol, Workload};
use crate::vocab::{Alpn, Direction, OrigDst, PodId, SpiffeId, WorkloadId};
use http::{HeaderValue, Method};
use std::sync::Arc;
use std::time::Duration;

pub fn workload(owner: &str, name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        id: WorkloadId { cluster: "east".into(), pod: PodId { namespace: "shop".into(), name: name.into() } },
        addresses: vec!["10.1.0.1".parse().unwrap()],
        node: "n1".into(),
        network: "".into(),
        identity: identity(owner),
        labels: [].into(),
        owner: format!("{owner}-v1").into(),
        canonical_service: owner.into(),
        canonical_revision: "v1".into(),
        enrolled: true,
        tunnel: TunnelProtocol::Underpass,
        ready: true,
        ready_since: None,
        locality: Default::default(),
    })
}

pub fn identity(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap()
}

pub fn party(owner: &str, name: &str, address: &str) -> Party {
    Party { workload: Some(workload(owner, name)), principal: Some(identity(owner)), address: address.parse().unwrap() }
}

pub fn service() -> ServiceRef {
    ServiceRef {
        host: "reviews.shop.svc.cluster.local".into(),
        name: "reviews".into(),
        namespace: "shop".into(),
        port: 9080,
    }
}

pub fn target(tunnel: Alpn, address: &str) -> Target {
    Target {
        destination: Some(party("reviews", "reviews-v1-x", "10.1.0.2:9080")),
        service: Some(service()),
        tunnel: Some(Tunnel { alpn: tunnel, address: address.parse().unwrap() }),
        security: Some(Security::MutualTls),
        tls: Some(Tls { version: "TLSv1_3", cipher: "TLS13_AES_128_GCM_SHA256", group: "X25519MLKEM768" }),
    }
}

pub fn open(telemetry: &Telemetry, direction: Direction) -> Open {
    let original = OrigDst::new("10.96.0.9:9080".parse().unwrap());
    let pod = PodId { namespace: "shop".into(), name: "web-v1-y".into() };
    telemetry.open(direction, pod, party("web", "web-v1-y", "10.1.0.1:40000"), original)
}

pub fn silent() -> Telemetry {
    Telemetry::new(&Config { access_log: AccessLog::Off, format: LogFormat::Text }).unwrap()
}

pub fn request(status: u16, protocol: Protocol) -> RequestRecord {
    RequestRecord {
        method: Method::GET,
        uri: "/reviews/1?a=\"b".parse().unwrap_or_else(|_| "/reviews/1?a=b".parse().unwrap()),
        authority: Some(HeaderValue::from_static("reviews:9080")),
        user_agent: Some(HeaderValue::from_bytes(b"curl\"8\xff").unwrap()),
        request_id: None,
        status,
        grpc_status: (protocol == Protocol::Grpc).then_some(0),
        protocol,
        request_bytes: 3,
        response_bytes: 2_000,
        duration: Duration::from_micros(1_500),
        flag: "-",
        attempts: 1,
        rule: None,
        policies: None,
        error: None,
    }
}

pub fn page_of(telemetry: &Telemetry) -> String {
    telemetry.scrape().collect()
}
