//! Scraped samples of connections and requests.

use super::*;
use crate::vocab::{Alpn, Stage};

/// The values of all samples of a metric whose labels contain all of `labels`.
fn values(page: &str, metric: &str, labels: &[&str]) -> Vec<String> {
    let lines = page.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn a_connection_has_istios_labels() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    connection.target(target(Alpn::Sessions, "10.1.0.2:9080"));
    connection.established();
    connection.close(Outcome::complete());
    let page = page_of(&telemetry);
    let line = concat!(
        r#"istio_tcp_connections_opened_total{reporter="source",source_workload="web-v1","#,
        r#"source_workload_namespace="shop",source_canonical_service="web",source_canonical_revision="v1","#,
        r#"source_app="web",source_version="v1",source_cluster="east","#,
        r#"source_principal="spiffe://cluster.local/ns/shop/sa/web",destination_workload="reviews-v1","#,
        r#"destination_workload_namespace="shop",destination_canonical_service="reviews","#,
        r#"destination_canonical_revision="v1",destination_app="reviews",destination_version="v1","#,
        r#"destination_cluster="east",destination_principal="spiffe://cluster.local/ns/shop/sa/reviews","#,
        r#"destination_service="reviews.shop.svc.cluster.local",destination_service_name="reviews","#,
        r#"destination_service_namespace="shop",connection_security_policy="mutual_tls","#,
        r#"request_protocol="tcp",response_flags="-"} 1"#,
    );
    assert!(page.lines().any(|found| found == line), "{page}");
    assert_eq!(values(&page, "istio_tcp_connections_closed_total", &[r#"response_flags="-""#]), ["1"]);
    assert!(values(&page, "istio_tcp_connections_failed_total", &[]).is_empty());
}

#[test]
fn what_is_not_known_is_unknown() {
    let telemetry = silent();
    let original = OrigDst::new("10.96.0.9:9080".parse().unwrap());
    let pod = PodId { namespace: "shop".into(), name: "web".into() };
    let client = Party::address("192.0.2.1:1".parse().unwrap());
    telemetry.open(Direction::Inbound, pod, client, original).close(Outcome::complete());
    let page = page_of(&telemetry);
    let labels = [
        r#"reporter="destination""#,
        r#"source_workload="unknown""#,
        r#"source_principal="unknown""#,
        r#"destination_service="unknown""#,
        r#"connection_security_policy="unknown""#,
    ];
    assert_eq!(values(&page, "istio_tcp_connections_opened_total", &labels), ["1"]);
}

#[test]
fn a_failure_before_the_destination_is_failed_and_nothing_else() {
    let telemetry = silent();
    open(&telemetry, Direction::Outbound).close(Outcome::failed("DENY", Stage::Policy, "not allowed"));
    let page = page_of(&telemetry);
    assert_eq!(values(&page, "istio_tcp_connections_failed_total", &[r#"response_flags="DENY""#]), ["1"]);
    assert!(values(&page, "istio_tcp_connections_opened_total", &[]).is_empty());
    assert!(values(&page, "istio_tcp_connections_closed_total", &[]).is_empty());
}

#[test]
fn a_dropped_record_is_closed_once_with_its_flag() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    connection.established();
    connection.established();
    drop(connection);
    let page = page_of(&telemetry);
    assert_eq!(values(&page, "istio_tcp_connections_opened_total", &[]), ["1"]);
    assert_eq!(values(&page, "istio_tcp_connections_closed_total", &[r#"response_flags="DR""#]), ["1"]);
    assert_eq!(values(&page, "istio_tcp_connections_closed_total", &[]).len(), 1);
    assert!(telemetry.connections().is_empty());
}

#[test]
fn bytes_are_visible_while_the_connection_is_open_and_counted_once() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    connection.established();
    let counters = connection.traffic().clone();
    counters.add_to_client(1_000);
    counters.add_to_server(10);
    assert_eq!(values(&page_of(&telemetry), "istio_tcp_sent_bytes_total", &[]), ["1000"]);
    counters.add_to_client(1);
    assert_eq!(values(&page_of(&telemetry), "istio_tcp_sent_bytes_total", &[]), ["1001"]);
    let page = page_of(&telemetry);
    assert!(page.contains("underpass_connections_open{direction=\"outbound\"} 1\n"));
    connection.close(Outcome::complete());
    let page = page_of(&telemetry);
    assert_eq!(values(&page, "istio_tcp_sent_bytes_total", &[]), ["1001"]);
    assert_eq!(values(&page, "istio_tcp_received_bytes_total", &[]), ["10"]);
    assert!(page.contains("underpass_connections_open{direction=\"outbound\"} 0\n"));
}

#[test]
fn pods_of_one_deployment_share_a_series() {
    let telemetry = silent();
    for pod in ["reviews-v1-a", "reviews-v1-b"] {
        let connection = open(&telemetry, Direction::Outbound);
        connection.destination(party("reviews", pod, "10.1.0.2:9080"));
        connection.close(Outcome::complete());
    }
    assert_eq!(values(&page_of(&telemetry), "istio_tcp_connections_opened_total", &[]), ["2"]);
}

#[test]
fn requests_are_counted_by_code_with_envoys_buckets() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    let target = Arc::new(target(Alpn::Sessions, "10.1.0.2:9080"));
    for status in [200, 200, 503] {
        connection.request(&target, &request(status, Protocol::Http2));
    }
    connection.request(&target, &request(200, Protocol::Grpc));
    let page = page_of(&telemetry);
    let http = r#"request_protocol="http",response_code="200",grpc_response_status="",response_flags="-""#;
    assert_eq!(values(&page, "istio_requests_total", &[http]), ["2"]);
    assert_eq!(values(&page, "istio_requests_total", &[r#"response_code="503""#]), ["1"]);
    let grpc = r#"request_protocol="grpc",response_code="200",grpc_response_status="0""#;
    assert_eq!(values(&page, "istio_requests_total", &[grpc]), ["1"]);
    let duration = "istio_request_duration_milliseconds";
    assert_eq!(values(&page, &format!("{duration}_bucket"), &[http, r#"le="1""#]), ["0"]);
    assert_eq!(values(&page, &format!("{duration}_bucket"), &[http, r#"le="5""#]), ["2"]);
    assert_eq!(values(&page, &format!("{duration}_bucket"), &[http, r#"le="+Inf""#]), ["2"]);
    assert_eq!(values(&page, &format!("{duration}_sum"), &[http]), ["3"]);
    assert_eq!(values(&page, "istio_response_bytes_sum", &[http]), ["4000"]);
    assert_eq!(values(&page, "istio_request_bytes_count", &[http]), ["2"]);
}

#[test]
fn a_server_cannot_make_series_without_end() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    let target = Arc::new(Target::default());
    for status in 600..999 {
        connection.request(&target, &request(status, Protocol::Http));
    }
    assert_eq!(values(&page_of(&telemetry), "istio_requests_total", &[r#"response_code="0""#]), ["399"]);
}

#[test]
fn both_pods_of_one_node_report_the_same_bytes_from_one_copy() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    let pod = PodId { namespace: "shop".into(), name: "reviews-v1-x".into() };
    let (client, original) =
        (party("web", "web-v1-y", "10.1.0.1:40000"), OrigDst::new("10.1.0.2:9080".parse().unwrap()));
    let twin = connection.twin(pod, client, original);
    connection.established();
    twin.established();
    connection.traffic().add_to_server(7);
    connection.traffic().add_to_client(70);
    twin.close(Outcome::complete());
    connection.close(Outcome::complete());
    let page = page_of(&telemetry);
    for reporter in [r#"reporter="source""#, r#"reporter="destination""#] {
        assert_eq!(values(&page, "istio_tcp_received_bytes_total", &[reporter]), ["7"]);
        assert_eq!(values(&page, "istio_tcp_sent_bytes_total", &[reporter]), ["70"]);
    }
}

#[test]
fn a_shared_record_ends_once() {
    let telemetry = silent();
    let connection = Arc::new(open(&telemetry, Direction::Outbound));
    connection.established();
    connection.end(Outcome::complete());
    connection.end(Outcome::failed("RESET", Stage::Relay, "late"));
    drop(connection);
    assert_eq!(values(&page_of(&telemetry), "istio_tcp_connections_closed_total", &[]), ["1"]);
}
