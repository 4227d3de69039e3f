//! The HTTP client: many requests from one process, and what came back, counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::{Method, Request, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::options::Options;

/// After so many failures and not one answer there is nothing to measure.
pub const HOPELESS: u64 = 20;

struct Plan {
    uri: Uri,
    method: Method,
    headers: Vec<(String, String)>,
    body: Bytes,
    requests: Option<u64>,
    seconds: f64,
    new_connection: bool,
    h2: bool,
    timeout: Duration,
    pause: Duration,
}

#[derive(Default)]
struct Seen {
    started: Cell<u64>,
    failed: Cell<u64>,
    errors: RefCell<BTreeMap<String, u64>>,
    statuses: RefCell<BTreeMap<String, u64>>,
    versions: RefCell<BTreeMap<String, u64>>,
    pods: RefCell<BTreeMap<String, u64>>,
    bytes: Cell<u64>,
    micros: RefCell<Vec<u64>>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// Runs the load; the counts as JSON.
pub async fn run(options: &Options) -> Result<Value> {
    let plan = Rc::new(plan(options)?);
    let seen = Rc::new(Seen::default());
    let concurrency: usize = options.number("concurrency")?.unwrap_or(1);
    let start = Instant::now();
    let local = LocalSet::new();
    for _ in 0..concurrency {
        local.spawn_local(worker(plan.clone(), seen.clone(), start));
    }
    local.await;
    Ok(report(&seen, start.elapsed()))
}

fn plan(options: &Options) -> Result<Plan> {
    let uri: Uri = options.required("url")?.parse()?;
    let header = |text: &str| {
        let (name, value) = text.split_once(':').with_context(|| format!("--header {text:?} has no colon"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let seconds: Option<f64> = options.number("seconds")?;
    let requests: Option<u64> = options.number("requests")?;
    Ok(Plan {
        method: options.text("method").unwrap_or("GET").parse()?,
        headers: options.all("header").map(header).collect::<Result<_>>()?,
        body: Bytes::from(vec![b'x'; options.number("body-bytes")?.unwrap_or(0)]),
        requests: if seconds.is_none() { Some(requests.unwrap_or(1)) } else { requests },
        seconds: seconds.unwrap_or(3600.0),
        new_connection: options.number("new-connection")?.unwrap_or(false),
        h2: options.number("h2")?.unwrap_or(false),
        timeout: Duration::from_millis(options.number("timeout-ms")?.unwrap_or(10_000)),
        pause: Duration::from_millis(options.number("pause-ms")?.unwrap_or(0)),
        uri,
    })
}

async fn worker(plan: Rc<Plan>, seen: Rc<Seen>, start: Instant) {
    let mut kept: Option<Sender> = None;
    while start.elapsed().as_secs_f64() < plan.seconds {
        if plan.requests.is_some_and(|limit| seen.started.get() >= limit) {
            return;
        }
        if seen.failed.get() >= HOPELESS && seen.micros.borrow().is_empty() {
            return;
        }
        seen.started.set(seen.started.get() + 1);
        let began = Instant::now();
        let outcome = tokio::time::timeout(plan.timeout, one(&plan, &seen, &mut kept)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("timeout")));
        match outcome {
            Ok(()) => seen.micros.borrow_mut().push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Err(error) => {
                kept = None;
                seen.failed.set(seen.failed.get() + 1);
                *seen.errors.borrow_mut().entry(format!("{error:#}")).or_default() += 1;
            }
        }
        if plan.new_connection {
            kept = None;
        }
        if !plan.pause.is_zero() {
            tokio::time::sleep(plan.pause).await;
        }
    }
}

async fn one(plan: &Plan, seen: &Seen, kept: &mut Option<Sender>) -> Result<()> {
    let closed = match kept {
        Some(Sender::One(sender)) => sender.ready().await.is_err(),
        Some(Sender::Two(sender)) => sender.ready().await.is_err(),
        None => true,
    };
    if closed {
        *kept = Some(connect(plan).await?);
    }
    let request = request(plan)?;
    let response = match kept {
        Some(Sender::One(sender)) => sender.send_request(request).await,
        Some(Sender::Two(sender)) => sender.send_request(request).await,
        None => bail!("no connection"),
    };
    let response = response.context("request")?;
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("body")?;
        seen.bytes.set(seen.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
    }
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    *seen.statuses.borrow_mut().entry(head.status.as_str().to_owned()).or_default() += 1;
    *seen.versions.borrow_mut().entry(header("x-pod-version")).or_default() += 1;
    *seen.pods.borrow_mut().entry(header("x-pod")).or_default() += 1;
    Ok(())
}

async fn connect(plan: &Plan) -> Result<Sender> {
    let host = plan.uri.host().context("the url has no host")?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, plan.uri.port_u16().unwrap_or(80))).await.context("connect")?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    if plan.h2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.context("handshake")?;
        tokio::spawn(connection);
        return Ok(Sender::Two(sender));
    }
    let (sender, connection) = http1::handshake(io).await.context("handshake")?;
    tokio::spawn(connection);
    Ok(Sender::One(sender))
}

fn request(plan: &Plan) -> Result<Request<Full<Bytes>>> {
    let authority = plan.uri.authority().context("the url has no host")?.as_str();
    let path = plan.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder().method(plan.method.clone());
    builder = match plan.h2 {
        true => builder.version(Version::HTTP_2).uri(plan.uri.clone()),
        false => builder.uri(path).header(HOST, authority),
    };
    for (name, value) in &plan.headers {
        builder = builder.header(name, value);
    }
    Ok(builder.body(Full::new(plan.body.clone()))?)
}

fn report(seen: &Seen, elapsed: Duration) -> Value {
    let mut micros = seen.micros.borrow().clone();
    micros.sort_unstable();
    let at = |share: f64| micros.get(((micros.len() as f64) * share) as usize).copied();
    json!({
        "sent": seen.started.get(),
        "answered": micros.len(),
        "failed": seen.failed.get(),
        "errors": *seen.errors.borrow(),
        "statuses": *seen.statuses.borrow(),
        "by_version": *seen.versions.borrow(),
        "by_pod": *seen.pods.borrow(),
        "body_bytes": seen.bytes.get(),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "max_us": micros.last(),
        "elapsed_s": elapsed.as_secs_f64(),
    })
}
