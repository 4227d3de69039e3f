//! Traffic policies: of a host, of a subset, of their ports.

use super::{Reading, raw};
use crate::model::proxy_tunnel::{ProxyMethod, ProxyTunnel};
use crate::model::traffic_policy::{ProxyProtocol, RetryBudget};
use crate::model::{PortPolicy, TrafficPolicy};
use crate::source::path::Path;
use crate::source::{name, quantity};
use std::net::IpAddr;

impl Reading<'_, '_> {
    /// A policy; `host` is the host's, which a subset's stands before.
    pub fn policy(&mut self, raw: &raw::TrafficPolicy, path: &Path, host: Option<&TrafficPolicy>) -> TrafficPolicy {
        let mut policy = TrafficPolicy { any_port: self.port_policy(raw, path), ports: Vec::new() };
        let settings = path.key("portLevelSettings");
        for (at, raw) in raw.port_level_settings.iter().enumerate() {
            let path = settings.index(at);
            if let Some(port) = self.port(raw.port.as_ref(), &path, &policy) {
                policy.ports.push((port, self.port_policy(&raw.policy(), &path)));
            }
        }
        self.judge(&policy, host, path);
        policy
    }

    fn port(&mut self, raw: Option<&raw::Port>, path: &Path, policy: &TrafficPolicy) -> Option<u16> {
        let Some(raw) = raw else {
            self.notes.error("missing-field", path, "`port` is missing: say for which port of the Service this is");
            return None;
        };
        let number = path.key("port").key("number");
        let port = self.port_number(raw.number, &number)?;
        if policy.ports.iter().any(|(other, _)| *other == port) {
            self.notes.invalid("conflict", &number, format!("the port {port} is here twice: put all of it in one"));
            return None;
        }
        Some(port)
    }

    fn port_policy(&mut self, raw: &raw::TrafficPolicy, path: &Path) -> PortPolicy {
        let load_balancer = raw.load_balancer.as_ref();
        let pool = raw.connection_pool.as_ref();
        let outlier = raw.outlier_detection.as_ref();
        let tls = raw.tls.as_ref();
        let budget = raw.retry_budget.as_ref();
        let proxy = raw.proxy_protocol.as_ref();
        PortPolicy {
            load_balancer: load_balancer.map(|raw| self.load_balancer(raw, &path.key("loadBalancer"))),
            connection_pool: pool.map(|raw| self.connection_pool(raw, &path.key("connectionPool"))),
            outlier: outlier.map(|raw| self.outlier(raw, &path.key("outlierDetection"))),
            tls: tls.map(|raw| self.tls(raw, &path.key("tls"))),
            proxy_protocol: proxy.and_then(|raw| self.proxy_protocol(raw, &path.key("proxyProtocol"))),
            retry_budget: budget.map(|raw| self.retry_budget(raw, &path.key("retryBudget"))),
            tunnel: raw.tunnel.as_ref().and_then(|raw| self.tunnel(raw, &path.key("tunnel"))),
        }
    }

    /// Without outlier detection no endpoint of a locality is ever out, and so nothing fails over.
    fn judge(&mut self, policy: &TrafficPolicy, host: Option<&TrafficPolicy>, path: &Path) {
        let ports = policy.ports.iter().enumerate();
        let ports = ports.map(|(at, (_, own))| (path.key("portLevelSettings").index(at), own));
        for (path, own) in [(path.clone(), &policy.any_port)].into_iter().chain(ports) {
            let wider = [own, &policy.any_port].into_iter().chain(host.map(|host| &host.any_port));
            let fails_over =
                own.load_balancer.as_ref().is_some_and(|own| own.locality.as_ref().is_some_and(|own| own.fails_over()));
            if fails_over && wider.into_iter().all(|policy| policy.outlier.is_none()) {
                let what = "nothing fails over without outlierDetection (so it is in Istio): write one beside it";
                self.notes.warning("no-effect", &path.key("loadBalancer").key("localityLbSetting"), what);
            }
        }
    }

    fn proxy_protocol(&mut self, raw: &raw::ProxyProtocol, path: &Path) -> Option<ProxyProtocol> {
        match raw.version.as_deref() {
            None | Some("V1") => Some(ProxyProtocol::V1),
            Some("V2") => Some(ProxyProtocol::V2),
            Some(other) => {
                self.notes.invalid(
                    "invalid-value",
                    &path.key("version"),
                    format!("`{other}` is not a version: V1 or V2"),
                );
                None
            }
        }
    }

    fn tunnel(&mut self, raw: &raw::Tunnel, path: &Path) -> Option<ProxyTunnel> {
        let method = match raw.protocol.as_str() {
            "" | "CONNECT" => Some(ProxyMethod::Connect),
            "POST" => Some(ProxyMethod::Post),
            other => {
                let what = format!("`{other}` is not a way to ask a proxy: CONNECT or POST");
                self.notes.invalid("invalid-value", &path.key("protocol"), what);
                None
            }
        };
        let host = match raw.target_host.as_str() {
            "" => self.nowhere("targetHost", path),
            host if host.parse::<IpAddr>().is_ok() || name::is_subdomain(&host.to_ascii_lowercase()) => {
                Some(host.into())
            }
            other => {
                let what = format!("`{other}` is neither a host's name nor an address");
                self.notes.invalid("invalid-host", &path.key("targetHost"), what);
                None
            }
        };
        let port = match raw.target_port {
            None => self.nowhere("targetPort", path),
            Some(port) => self.port_number(port, &path.key("targetPort")),
        };
        Some(ProxyTunnel { method: method?, host: host?, port: port? })
    }

    fn nowhere<T>(&mut self, field: &str, path: &Path) -> Option<T> {
        let what = format!("`{field}` is missing: say where the proxy is to connect to");
        self.notes.invalid("missing-field", path, what);
        None
    }

    fn port_number(&mut self, number: i64, path: &Path) -> Option<u16> {
        name::port(number).map_err(|what| self.notes.invalid("invalid-port", path, what)).ok()
    }

    fn retry_budget(&mut self, raw: &raw::RetryBudget, path: &Path) -> RetryBudget {
        let percent = raw.percent.and_then(|value| quantity::percent(value, &path.key("percent"), self.notes));
        let minimum =
            quantity::count(raw.min_retry_concurrency, 0..=u32::MAX, &path.key("minRetryConcurrency"), self.notes);
        let interval =
            quantity::duration_or_zero(raw.budget_interval.as_ref(), &path.key("budgetInterval"), self.notes);
        RetryBudget {
            percent: percent.unwrap_or(20.0),
            minimum: minimum.unwrap_or(3),
            interval: interval.filter(|time| !time.is_zero()),
        }
    }
}
