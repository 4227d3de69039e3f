//! The agent's own measures, the dump, and what bounds the series.

use super::*;
use crate::vocab::{Alpn, Stage};
use std::sync::atomic::Ordering;

#[test]
fn the_agents_own_measures_are_on_the_page() {
    let telemetry = silent();
    let agent = telemetry.agent();
    agent.pods(3, 1);
    agent.kubelet(true);
    agent.generation(42);
    agent.handshake(Direction::Outbound, Alpn::Hbone, "timeout");
    let sessions = agent.sessions(Direction::Outbound, Alpn::Sessions);
    let _open = sessions.opened();
    drop(sessions.opened());
    sessions.reused();
    agent.certificates([(identity("web"), std::time::SystemTime::now() + Duration::from_secs(3_600))]);
    let page = page_of(&telemetry);
    for line in [
        "underpass_pods{state=\"captured\"} 3",
        "underpass_pods{state=\"wanted\"} 1",
        "underpass_kubelet_known 1",
        "underpass_snapshot_generation 42",
        "underpass_handshakes_total{direction=\"outbound\",tunnel=\"hbone\",result=\"timeout\"} 1",
        "underpass_tunnel_sessions_open{direction=\"outbound\",tunnel=\"underpass/1\"} 1",
        "underpass_tunnel_sessions_opened_total{direction=\"outbound\",tunnel=\"underpass/1\"} 2",
        "underpass_tunnel_sessions_reused_total{direction=\"outbound\",tunnel=\"underpass/1\"} 1",
        "underpass_certificate_expiry_seconds{identity=\"spiffe://cluster.local/ns/shop/sa/web\"} 3600",
        "underpass_access_log_dropped_lines_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(page.contains("istio_build{component=\"underpass\",tag=\""));
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"] {
        assert!(page.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
}

#[test]
fn an_open_connection_is_in_the_dump() {
    let telemetry = silent();
    let connection = open(&telemetry, Direction::Outbound);
    connection.target(target(Alpn::Sessions, "10.1.0.2:9080"));
    connection.enter(Stage::Tunnel);
    let dump = serde_json::to_value(telemetry.connections()).unwrap();
    let row = &dump[0];
    assert_eq!(row["stage"], "tunnel");
    assert_eq!(row["pod"], "shop/web-v1-y");
    assert_eq!(row["destination"]["workload"], "east/shop/reviews-v1-x");
    assert_eq!(row["service"], "reviews.shop.svc.cluster.local:9080");
    assert_eq!(row["security"], "mutual_tls");
    assert_eq!(row["original_destination"], "10.96.0.9:9080");
}

#[test]
fn series_of_pods_that_are_gone_are_dropped_after_a_while() {
    use super::edge::Ends;
    use super::edges::{Edges, GONE_AFTER};
    let edges = Edges::new(100);
    let client = party("web", "web-1", "10.1.0.1:1");
    let find = |party: &Party| {
        let ends = Ends {
            direction: Direction::Outbound,
            source: Some(party),
            destination: None,
            service: None,
            security: None,
        };
        edges.find(&ends).open();
    };
    find(&client);
    let now = std::time::Instant::now();
    edges.sweep(now);
    edges.sweep(now + GONE_AFTER);
    assert_eq!(edges.all().len(), 1, "its pod is still there");
    drop(client);
    edges.sweep(now + GONE_AFTER / 2);
    assert_eq!(edges.all().len(), 1, "its last values can still be scraped");
    edges.sweep(now + GONE_AFTER);
    assert!(edges.all().is_empty());
}

#[test]
fn beyond_the_limit_edges_are_unknown() {
    use super::edge::Ends;
    use super::edges::Edges;
    let edges = Edges::new(2);
    for owner in ["a", "b", "c", "d"] {
        let client = party(owner, owner, "10.1.0.1:1");
        let ends = Ends {
            direction: Direction::Outbound,
            source: Some(&client),
            destination: None,
            service: None,
            security: None,
        };
        edges.find(&ends).open();
    }
    let all = edges.all();
    assert_eq!(all.len(), 3);
    let unknown = all.iter().find(|edge| edge.labels.as_str().contains(r#"source_workload="unknown""#)).unwrap();
    assert_eq!(unknown.opened.load(Ordering::Relaxed), 2);
}
