//! What `/metrics` answers, made piece by piece while it is sent: twenty labels on twenty buckets make 60 KB of an edge
//! with requests, and a busy node has thousands of them.

use super::edge::{Edge, Requests, tcp_labels};
use super::exposition::{Kind, Labels, Page};
use super::histogram::Histogram;
use super::process;
use super::recorder::Telemetry;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A page in pieces. Each is made when it is asked for.
pub type Pieces = Box<dyn Iterator<Item = String> + Send>;

/// Edges per piece: about 150 KB of buckets, a tenth of a millisecond.
const EDGES: usize = 8;

struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    write: fn(&mut Page, &Edge),
}

const fn counter(name: &'static str, help: &'static str, write: fn(&mut Page, &Edge)) -> Family {
    Family { name, kind: Kind::Counter, help, write }
}

const fn histogram(name: &'static str, help: &'static str, write: fn(&mut Page, &Edge)) -> Family {
    Family { name, kind: Kind::Histogram, help, write }
}

static FAMILIES: [Family; 9] = [
    counter("istio_tcp_connections_opened_total", "TCP connections opened.", |page, edge| {
        opened(page, edge, &edge.opened);
    }),
    counter("istio_tcp_sent_bytes_total", "Bytes sent during response.", |page, edge| {
        opened(page, edge, &edge.response);
    }),
    counter("istio_tcp_received_bytes_total", "Bytes received during request.", |page, edge| {
        opened(page, edge, &edge.request);
    }),
    counter("istio_tcp_connections_closed_total", "TCP connections closed.", |page, edge| {
        for (labels, series) in edge.tcp_series() {
            counted(page, &labels, &series.closed);
        }
    }),
    counter(
        "istio_tcp_connections_failed_total",
        "TCP connections that ended before they reached their destination.",
        |page, edge| {
            for (labels, series) in edge.tcp_series() {
                counted(page, &labels, &series.failed);
            }
        },
    ),
    counter("istio_requests_total", "Requests.", |page, edge| {
        for (labels, requests) in edge.request_series() {
            counted(page, &labels, &requests.total);
        }
    }),
    histogram("istio_request_duration_milliseconds", "Duration of requests.", |page, edge| {
        buckets(page, edge, |requests| &requests.duration);
    }),
    histogram("istio_request_bytes", "Sizes of request bodies.", |page, edge| {
        buckets(page, edge, |requests| &requests.request_bytes);
    }),
    histogram("istio_response_bytes", "Sizes of response bodies.", |page, edge| {
        buckets(page, edge, |requests| &requests.response_bytes);
    }),
];

/// A series that never counted anything is left out: an edge of requests need not show empty ones of connections.
fn counted(page: &mut Page, labels: &Labels, value: &AtomicU64) {
    let value = value.load(Ordering::Relaxed);
    if value > 0 {
        page.sample(labels.as_str(), value);
    }
}

/// A series that every edge with a connection has, bytes or not.
fn opened(page: &mut Page, edge: &Edge, value: &AtomicU64) {
    if edge.opened.load(Ordering::Relaxed) > 0 {
        page.sample(tcp_labels(&edge.labels, "-").as_str(), value.load(Ordering::Relaxed));
    }
}

fn buckets(page: &mut Page, edge: &Edge, histogram: fn(&Requests) -> &Histogram) {
    for (labels, requests) in edge.request_series() {
        page.histogram(labels.as_str(), &histogram(&requests).read());
    }
}

/// The whole page.
pub fn page(telemetry: &Telemetry) -> Pieces {
    for live in telemetry.live().all() {
        live.count_bytes();
    }
    let edges: Arc<[Arc<Edge>]> = telemetry.edges().all().into();
    let mut last = Page::default();
    own(&mut last, telemetry);
    process::write(&mut last);
    let families = FAMILIES.iter().flat_map(move |family| pieces(family, Arc::clone(&edges)));
    Box::new(families.chain(iter::once(last.finish())).filter(|piece| !piece.is_empty()))
}

fn pieces(family: &'static Family, edges: Arc<[Arc<Edge>]>) -> impl Iterator<Item = String> + Send {
    let mut head = Page::default();
    head.family(family.name, family.kind, family.help);
    let rest = (0..edges.len()).step_by(EDGES).map(move |first| {
        let mut page = Page::more(family.name);
        for edge in edges.iter().skip(first).take(EDGES) {
            (family.write)(&mut page, edge);
        }
        page.finish()
    });
    iter::once(head.finish()).chain(rest)
}

fn own(page: &mut Page, telemetry: &Telemetry) {
    page.family("istio_build", Kind::Gauge, "What runs.");
    let labels = Labels::default().with("component", "underpass").with("tag", env!("CARGO_PKG_VERSION"));
    page.sample(labels.as_str(), 1);
    let (outbound, inbound) = telemetry.open_connections();
    page.family("underpass_connections_open", Kind::Gauge, "Connections that are open.");
    page.sample(r#"direction="outbound""#, outbound);
    page.sample(r#"direction="inbound""#, inbound);
    let help = "Access log lines that were dropped because they came faster than they could be written.";
    let dropped = telemetry.dropped_lines();
    page.single("underpass_access_log_dropped_lines_total", Kind::Counter, help, dropped);
    telemetry.agent().write(page);
}
