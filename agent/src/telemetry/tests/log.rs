//! Lines of the access log.

use super::*;
use crate::vocab::{Alpn, Stage};

/// Runs `work` with a log in a file and returns its lines.
fn logged(format: LogFormat, work: impl FnOnce(&Telemetry)) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let config = Config { access_log: AccessLog::File(path.clone()), format };
    let telemetry = Telemetry::new(&config).unwrap();
    work(&telemetry);
    assert!(telemetry.flush(Duration::from_secs(10)));
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_connection_is_one_line_of_text() {
    let lines = logged(LogFormat::Text, |telemetry| {
        let connection = open(telemetry, Direction::Outbound);
        connection.target(target(Alpn::Hbone, "10.1.0.2:15008"));
        connection.established();
        connection.traffic().add_to_server(85);
        connection.traffic().add_to_client(178);
        connection.close(Outcome::complete());
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    let fields = concat!(
        r#" INFO access: connection complete connection=0 pod="shop/web-v1-y" direction="outbound" "#,
        r#"src.addr=10.1.0.1:40000 src.workload="web-v1-y" src.namespace="shop" src.cluster="east" "#,
        r#"src.identity="spiffe://cluster.local/ns/shop/sa/web" dst.addr=10.1.0.2:15008 "#,
        r#"dst.hbone_addr=10.1.0.2:9080 dst.original=10.96.0.9:9080 "#,
        r#"dst.service="reviews.shop.svc.cluster.local" dst.workload="reviews-v1-x" dst.namespace="shop" "#,
        r#"dst.cluster="east" dst.identity="spiffe://cluster.local/ns/shop/sa/reviews" tunnel="hbone" "#,
        r#"security="mutual_tls" tls.version="TLSv1_3" tls.cipher="TLS13_AES_128_GCM_SHA256" "#,
        r#"tls.group="X25519MLKEM768" protocol="tcp" bytes_sent=85 bytes_recv=178 response_flags="-" duration=""#,
    );
    assert!(line.contains(fields), "{line}");
    assert!(line.ends_with("ms\""), "{line}");
}

#[test]
fn a_failure_says_why_and_where_as_json() {
    let lines = logged(LogFormat::Json, |telemetry| {
        let connection = open(telemetry, Direction::Inbound);
        connection.close(Outcome::failed("TLS_FAILURE", Stage::Tunnel, "unknown \"issuer\"\nforged line"));
        drop(open(telemetry, Direction::Inbound));
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["target"], "access");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["message"], "connection failed");
    assert_eq!(line["stage"], "tunnel");
    assert_eq!(line["response_flags"], "TLS_FAILURE");
    assert_eq!(line["error"], "unknown \"issuer\"\nforged line");
    let dropped: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(dropped["response_flags"], "DR");
}

#[test]
fn a_request_is_one_line() {
    let work = |telemetry: &Telemetry| {
        let connection = open(telemetry, Direction::Outbound);
        let target = Arc::new(target(Alpn::Sessions, "10.1.0.2:9080"));
        connection.request(&target, &request(200, Protocol::Grpc));
        connection.close(Outcome::complete());
    };
    let lines = logged(LogFormat::Json, work);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "request complete");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["authority"], "reviews:9080");
    assert_eq!(line["status"], 200);
    assert_eq!(line["grpc_status"], "0");
    assert_eq!(line["response_bytes"], 2000);
    assert_eq!(line["user_agent"], "curl\"8\u{fffd}");
    assert_eq!(line["duration"], "1.500ms");
    assert_eq!(line["dst.tunnel_addr"], "10.1.0.2:9080");
    assert_eq!(line["connection"], 0);
    let text = logged(LogFormat::Text, work);
    assert!(text[0].contains(r#"method="GET" path="/reviews/1?a="#), "{}", text[0]);
}
