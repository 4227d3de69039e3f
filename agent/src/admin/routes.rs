//! Paths and what they answer.

use crate::explain::{Question, Unanswered};
use crate::telemetry::{CONTENT_TYPE, LogControl, Pieces};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::fmt;

type Dump = Box<dyn Fn() -> Value + Send + Sync>;

type Explained = Result<Value, Unanswered>;

/// The routes, as a client of that name sees them.
pub type Listing = Box<dyn Fn(Option<&str>) -> Explained + Send + Sync>;

/// The answer to a question.
pub type Explaining = Box<dyn Fn(&Question) -> Explained + Send + Sync>;

/// Why the agent is not ready; empty when it is.
pub type Ready = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Where answers come from. Each is called for each question, on a thread that may take its time.
pub struct Sources {
    /// `/snapshot`: the configuration in force.
    pub snapshot: Dump,
    /// `/workloads`: an array of `model::Workload`.
    pub workloads: Dump,
    /// `/pods`: an array, the pods of this node and whether they are captured.
    pub pods: Dump,
    /// `/connections`: an array of `telemetry::ConnectionRow`.
    pub connections: Dump,
    /// `/findings`: an array of `model::Finding`.
    pub findings: Dump,
    /// `/certs`: an array, one object per identity.
    pub certs: Dump,
    /// `/routes`: an array, one object for each port of a service, as a client sees it where one is named.
    pub routes: Listing,
    /// `/explain`: why a request would go where it would go.
    pub explain: Explaining,
    /// `/metrics`.
    pub metrics: Box<dyn Fn() -> Pieces + Send + Sync>,
    /// `/healthz/ready`.
    pub ready: Ready,
    /// `/logging`.
    pub logging: LogControl,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("logging", &self.logging).finish_non_exhaustive()
    }
}

/// Which paths a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Everything.
    Admin,
    /// Metrics only.
    Metrics,
    /// Readiness only.
    Health,
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type.
    pub media: &'static str,
    /// The methods that there are, for 405.
    pub allow: Option<&'static str>,
    /// The body, made while it is sent.
    pub body: Pieces,
}

impl Answer {
    fn new(status: StatusCode, media: &'static str, body: Pieces) -> Self {
        Self { status, media, allow: None, body }
    }

    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Box::new(std::iter::once(body.into())))
    }

    fn json(value: &Value) -> Self {
        let body = std::iter::once(format!("{value:#}\n"));
        Self::new(StatusCode::OK, "application/json", Box::new(body))
    }

    fn not_allowed(allow: &'static str) -> Self {
        let body = format!("this path takes {allow}\n");
        Self { allow: Some(allow), ..Self::text(StatusCode::METHOD_NOT_ALLOWED, body) }
    }
}

const INDEX: &str = "\
GET  /snapshot        the configuration in force
GET  /workloads       the workloads it knows, of all clusters
GET  /pods            the pods of this node, and whether they are captured
GET  /connections     the connections that are open
GET  /findings        what is wrong with the configuration
GET  /certs           the certificates in use
GET  /routes          who governs each port of each service; ?source=NAMESPACE/POD as that pod sees it
GET  /explain         ?source=NAMESPACE/POD&destination=HOST:PORT&method=M&path=P&header=N:V: where it goes, and why
GET  /logging         the log level; POST /logging?level=debug sets it
GET  /metrics         metrics for Prometheus, also as /stats/prometheus
GET  /healthz/ready   200 when ready, 503 with the reasons when not
";

/// Answers one question.
pub fn answer(sources: &Sources, surface: Surface, method: &Method, uri: &http::Uri) -> Answer {
    let path = uri.path();
    if surface == Surface::Admin && path == "/logging" {
        return logging(sources, method, uri.query());
    }
    let Some(found) = lookup(surface, path) else {
        return Answer::text(StatusCode::NOT_FOUND, format!("no such path: {path}\n"));
    };
    if method != Method::GET && method != Method::HEAD {
        return Answer::not_allowed("GET, HEAD");
    }
    found(sources, uri.query().unwrap_or_default())
}

/// What is behind a path of a surface.
fn lookup(surface: Surface, path: &str) -> Option<fn(&Sources, &str) -> Answer> {
    let admin = surface == Surface::Admin;
    match path {
        "/metrics" | "/stats/prometheus" if surface != Surface::Health => {
            Some(|sources, _| Answer::new(StatusCode::OK, CONTENT_TYPE, (sources.metrics)()))
        }
        "/healthz/ready" if surface != Surface::Metrics => Some(ready),
        "/" if admin => Some(|_, _| Answer::text(StatusCode::OK, INDEX)),
        "/snapshot" if admin => Some(|sources, _| Answer::json(&(sources.snapshot)())),
        "/workloads" if admin => Some(|sources, _| Answer::json(&(sources.workloads)())),
        "/pods" if admin => Some(|sources, _| Answer::json(&(sources.pods)())),
        "/connections" if admin => Some(|sources, _| Answer::json(&(sources.connections)())),
        "/findings" if admin => Some(|sources, _| Answer::json(&(sources.findings)())),
        "/routes" if admin => Some(routes),
        "/explain" if admin => Some(explain),
        "/certs" if admin => Some(|sources, _| Answer::json(&(sources.certs)())),
        _ => None,
    }
}

fn routes(sources: &Sources, query: &str) -> Answer {
    answered((sources.routes)(fields(query, "source").next().as_deref()))
}

fn explain(sources: &Sources, query: &str) -> Answer {
    let field = |name| fields(query, name).next();
    let question = Question {
        source: field("source").unwrap_or_default(),
        destination: field("destination").unwrap_or_default(),
        method: field("method"),
        path: field("path"),
        headers: fields(query, "header").collect(),
    };
    answered((sources.explain)(&question))
}

fn answered(result: Explained) -> Answer {
    match result {
        Ok(value) => Answer::json(&value),
        Err(error) => Answer::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// The values of a query's fields of that name.
fn fields<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value);
    values.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn ready(sources: &Sources, _: &str) -> Answer {
    let reasons = (sources.ready)();
    if reasons.is_empty() {
        return Answer::text(StatusCode::OK, "ready\n");
    }
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n")))
}

fn logging(sources: &Sources, method: &Method, query: Option<&str>) -> Answer {
    if method == Method::GET || method == Method::HEAD {
        return Answer::text(StatusCode::OK, format!("{}\n", sources.logging.level()));
    }
    if method != Method::POST {
        return Answer::not_allowed("GET, HEAD, POST");
    }
    let Some(level) = query.and_then(|query| query.strip_prefix("level=")) else {
        return Answer::text(StatusCode::BAD_REQUEST, "say which level: POST /logging?level=debug\n");
    };
    // The characters of a filter that a client might percent-encode.
    let level = level.replace("%2C", ",").replace("%2c", ",").replace("%3D", "=").replace("%3d", "=");
    let level = level.replace("%3A", ":").replace("%3a", ":");
    match sources.logging.set(&level) {
        Ok(()) => {
            tracing::info!(%level, "log level changed");
            Answer::text(StatusCode::OK, format!("{}\n", sources.logging.level()))
        }
        Err(error) => Answer::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
