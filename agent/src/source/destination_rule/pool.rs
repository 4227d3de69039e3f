//! Limits of what is open at once, and times.

use super::{Reading, raw};
use crate::model::traffic_policy::{ConnectionPool, H2Upgrade, HttpPool, Keepalive, TcpPool};
use crate::source::path::Path;
use crate::source::quantity;
use std::time::Duration;

/// The fields are signed in Istio.
const MOST: u32 = i32::MAX as u32;

impl Reading<'_, '_> {
    /// What `connectionPool` says.
    pub fn connection_pool(&mut self, raw: &raw::ConnectionPool, path: &Path) -> ConnectionPool {
        if raw.tcp.is_none() && raw.http.is_none() {
            self.notes.error("missing-field", path, "says nothing: write tcp or http");
        }
        ConnectionPool {
            tcp: raw.tcp.as_ref().map(|raw| self.tcp_pool(raw, &path.key("tcp"))).unwrap_or_default(),
            http: raw.http.as_ref().map(|raw| self.http_pool(raw, &path.key("http"))).unwrap_or_default(),
        }
    }

    fn tcp_pool(&mut self, raw: &raw::TcpPool, path: &Path) -> TcpPool {
        let keepalive = raw.tcp_keepalive.as_ref();
        TcpPool {
            max_connections: self.limit(raw.max_connections, &path.key("maxConnections")),
            connect_timeout: quantity::duration(raw.connect_timeout.as_ref(), &path.key("connectTimeout"), self.notes),
            keepalive: keepalive.map(|raw| self.keepalive(raw, &path.key("tcpKeepalive"))),
            max_duration: self.time(raw.max_connection_duration.as_ref(), &path.key("maxConnectionDuration")),
            idle_timeout: quantity::duration_or_zero(raw.idle_timeout.as_ref(), &path.key("idleTimeout"), self.notes),
        }
    }

    fn keepalive(&mut self, raw: &raw::Keepalive, path: &Path) -> Keepalive {
        Keepalive {
            probes: self.limit(raw.probes, &path.key("probes")),
            time: self.time(raw.time.as_ref(), &path.key("time")),
            interval: self.time(raw.interval.as_ref(), &path.key("interval")),
        }
    }

    fn http_pool(&mut self, raw: &raw::HttpPool, path: &Path) -> HttpPool {
        let upgrade = self.upgrade(raw, path);
        HttpPool {
            max_pending: self.limit(raw.http1_max_pending_requests, &path.key("http1MaxPendingRequests")),
            max_requests: self.limit(raw.http2_max_requests, &path.key("http2MaxRequests")),
            max_requests_per_connection: self
                .limit(raw.max_requests_per_connection, &path.key("maxRequestsPerConnection")),
            max_retries: self.limit(raw.max_retries, &path.key("maxRetries")),
            idle_timeout: self.time(raw.idle_timeout.as_ref(), &path.key("idleTimeout")),
            upgrade,
            max_streams: self.limit(raw.max_concurrent_streams, &path.key("maxConcurrentStreams")),
            h2_keepalive: self.h2_keepalive(raw.http2_keepalive.as_ref(), &path.key("http2KeepAlive")),
        }
    }

    fn upgrade(&mut self, raw: &raw::HttpPool, path: &Path) -> H2Upgrade {
        match (raw.h2_upgrade_policy.as_deref(), raw.use_client_protocol) {
            (Some("UPGRADE"), true) => {
                let what = "stands beside `h2UpgradePolicy: UPGRADE`, and both cannot be: keep one of them";
                self.notes.error("conflict", &path.key("useClientProtocol"), what);
                H2Upgrade::AsClient
            }
            (Some("UPGRADE"), false) => H2Upgrade::Upgrade,
            (Some("DO_NOT_UPGRADE"), false) => H2Upgrade::Never,
            (None | Some("DEFAULT" | "DO_NOT_UPGRADE"), _) => H2Upgrade::AsClient,
            (Some(other), _) => {
                let what = format!("`{other}` is not known: DEFAULT, DO_NOT_UPGRADE or UPGRADE");
                self.notes.invalid("invalid-value", &path.key("h2UpgradePolicy"), what);
                H2Upgrade::AsClient
            }
        }
    }

    fn h2_keepalive(&mut self, raw: Option<&raw::Http2Keepalive>, path: &Path) -> Option<(Duration, Duration)> {
        let raw = raw?;
        for (field, there) in [("interval", raw.interval.is_some()), ("timeout", raw.timeout.is_some())] {
            if !there {
                self.notes.error(
                    "missing-field",
                    path,
                    format!("`{field}` is missing: interval and timeout are needed"),
                );
            }
        }
        let interval = self.time(raw.interval.as_ref(), &path.key("interval"));
        let timeout = self.time(raw.timeout.as_ref(), &path.key("timeout"));
        Some((interval?, timeout?))
    }

    /// A limit; 0 is none, as in Istio.
    fn limit(&mut self, raw: Option<i64>, path: &Path) -> Option<u32> {
        quantity::count(raw, 0..=MOST, path, self.notes).filter(|limit| *limit > 0)
    }

    fn time(&mut self, raw: Option<&String>, path: &Path) -> Option<Duration> {
        quantity::duration(raw, path, self.notes)
    }
}
