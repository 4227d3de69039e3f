//! The listeners over real sockets, and the tables.

use super::*;
use crate::telemetry::{LogFormat, build};
use http::StatusCode;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Running {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    _log: tracing::Dispatch,
}

async fn run(surface: Surface) -> Running {
    let (log, logging) = build(LogFormat::Text, "info").unwrap();
    let ready = Arc::new(AtomicBool::new(false));
    let told = ready.clone();
    let sources = Sources {
        snapshot: Box::new(|| json!({"generation": 7})),
        workloads: Box::new(|| json!([{"id": {"cluster": "east", "pod": {"namespace": "shop", "name": "web"}}}])),
        pods: Box::new(|| json!([{"pod": "shop/web", "captured": true}])),
        connections: Box::new(connections),
        findings: Box::new(|| json!([])),
        certs: Box::new(|| json!([])),
        routes: Box::new(|source| Ok(json!([{"host": "api", "clients": source}]))),
        explain: Box::new(|question| match question.source.as_str() {
            "nobody" => Err(crate::explain::Unanswered::Source("nobody".to_owned())),
            _ => Ok(json!({"asked": format!("{question:?}")})),
        }),
        metrics: Box::new(|| Box::new(["istio_build 1\n", "up 1\n"].into_iter().map(str::to_owned))),
        ready: Box::new(move || match told.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => vec!["programs are not attached".to_owned()],
        }),
        logging,
    };
    let server = Server::bind(surface, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(Arc::new(sources)));
    Running { address, ready, _log: log }
}

fn connections() -> Value {
    json!([{
        "id": 3, "direction": "outbound", "pod": "shop/web", "stage": "relay", "protocol": "tcp",
        "source": {"address": "10.1.0.1:4"}, "original_destination": "10.96.0.9:80",
        "destination": {"address": "10.1.0.2:80", "workload": "west/shop/api"},
        "bytes_sent": 12, "bytes_received": 9, "since": "2026-01-01T00:00:00.000Z",
    }])
}

/// Sends raw bytes and returns everything that comes back.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn call(address: SocketAddr, method: &str, path: &str) -> String {
    raw(address, &format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn each_listener_has_its_paths_only() {
    let admin = run(Surface::Admin).await.address;
    for path in [
        "/",
        "/snapshot",
        "/workloads",
        "/pods",
        "/connections",
        "/findings",
        "/certs",
        "/routes",
        "/explain",
        "/logging",
        "/metrics",
    ] {
        assert_eq!(get(admin, path).await.unwrap().0, StatusCode::OK, "{path}");
    }
    assert!(get(admin, "/snapshot").await.unwrap().1.contains("\"generation\": 7"));
    assert_eq!(get(admin, "/nothing").await.unwrap().0, StatusCode::NOT_FOUND);

    let metrics = run(Surface::Metrics).await.address;
    assert_eq!(get(metrics, "/stats/prometheus").await.unwrap().1, "istio_build 1\nup 1\n");
    for path in ["/snapshot", "/logging", "/healthz/ready"] {
        assert_eq!(get(metrics, path).await.unwrap().0, StatusCode::NOT_FOUND, "{path}");
    }
    let health = run(Surface::Health).await.address;
    assert_eq!(get(health, "/metrics").await.unwrap().0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let health = run(Surface::Health).await;
    let (status, body) = get(health.address, "/healthz/ready").await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "programs are not attached\n"));
    health.ready.store(true, Ordering::Relaxed);
    assert_eq!(get(health.address, "/healthz/ready").await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn other_methods_are_refused() {
    let admin = run(Surface::Admin).await;
    let answer = call(admin.address, "POST", "/snapshot").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    assert!(call(admin.address, "DELETE", "/logging").await.contains("allow: GET, HEAD, POST\r\n"));
    let head = call(admin.address, "HEAD", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
}

#[tokio::test]
async fn the_log_level_is_shown_and_set() {
    let admin = run(Surface::Admin).await;
    assert_eq!(get(admin.address, "/logging").await.unwrap().1, "info\n");
    let answer = call(admin.address, "POST", "/logging?level=info%2Cunderpass::tunnel=trace").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let now = get(admin.address, "/logging").await.unwrap().1;
    assert!(now.contains("underpass::tunnel=trace") && now.contains("info"), "{now}");
    for wrong in ["/logging", "/logging?level=loud"] {
        let answer = call(admin.address, "POST", wrong).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(get(admin.address, "/logging").await.unwrap().1, now, "a wrong level changes nothing");
}

#[tokio::test]
async fn a_huge_head_and_garbage_end_only_their_connection() {
    let admin = run(Surface::Admin).await;
    let huge = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let answer = raw(admin.address, &huge).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = raw(admin.address, "\0\u{1}garbage\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(get(admin.address, "/").await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn the_commands_print_tables_or_the_answer() {
    let admin = run(Surface::Admin).await;
    let table = ask(Question::Connections, admin.address, false).await.unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("ID  DIRECTION  POD"), "{table}");
    assert!(lines[1].starts_with("3   outbound   shop/web  west/shop/api"), "{table}");
    let json = ask(Question::Connections, admin.address, true).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), connections());
    let workloads = ask(Question::Workloads, admin.address, false).await.unwrap();
    assert!(workloads.lines().nth(1).unwrap().starts_with("east     shop       web"), "{workloads}");
    let status = ask(Question::Status, admin.address, false).await.unwrap();
    assert!(status.contains("ready         no\n              programs are not attached\n"), "{status}");
    assert!(status.contains("shop/web  yes"), "{status}");
}

#[tokio::test]
async fn no_agent_is_said_with_its_address() {
    let server = Server::bind(Surface::Admin, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    drop(server);
    let error = ask(Question::Status, address, false).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("no agent at {address} ")), "{error}");
}

#[tokio::test]
async fn what_is_asked_arrives_as_it_was_written() {
    let admin = run(Surface::Admin).await.address;
    let question = crate::explain::Question {
        source: "shop/web".to_owned(),
        destination: "api:80".to_owned(),
        method: Some("PUT".to_owned()),
        path: Some("/a b?x=1&y=%20".to_owned()),
        headers: vec!["end-user: jason & co".to_owned(), "x: ü".to_owned()],
    };
    assert_eq!(explain(&question, admin).await.unwrap()["asked"], format!("{question:?}"));
    let nobody = crate::explain::Question { source: "nobody".to_owned(), ..question };
    let error = explain(&nobody, admin).await.unwrap_err().to_string();
    assert!(error.starts_with("no pod or workload is called nobody: "), "{error}");
    assert_eq!(ask_routes(Some("shop/web"), admin).await.unwrap()[0]["clients"], "shop/web");
    assert_eq!(ask_routes(None, admin).await.unwrap()[0]["clients"], Value::Null);
}
