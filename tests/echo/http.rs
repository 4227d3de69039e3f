//! What the echo application answers, by path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::{seen, upgrade};

/// Both ends of a connection, as the application sees them.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// getpeername.
    pub client: SocketAddr,
    /// getsockname.
    pub local: SocketAddr,
}

/// The body of every answer.
pub type Answer = BoxBody<Bytes, hyper::Error>;

/// `/bytes/N`, `/delay/MS`, `/status/CODE`, `/fail/N` (503 to the first N of a `x-request-id`), `/seen` (how often each
/// path was asked for), `/upload`, `/ws` (raw upgrade), gRPC by content type, else the request.
pub async fn answer(request: Request<Incoming>, ends: Ends) -> Result<Response<Answer>, Infallible> {
    let mut response = dispatch(request, ends).await;
    for (name, variable) in [("x-pod", "POD_NAME"), ("x-pod-version", "VERSION"), ("x-pod-cluster", "CLUSTER")] {
        let value = HeaderValue::from_str(&variable_of(variable));
        response.headers_mut().insert(name, value.unwrap_or_else(|_| HeaderValue::from_static("")));
    }
    Ok(response)
}

async fn dispatch(request: Request<Incoming>, ends: Ends) -> Response<Answer> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let (first, number) = (parts.next().unwrap_or_default(), parts.next().and_then(|n| n.parse::<u64>().ok()));
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    let times = seen::count(request.uri().path());
    match (first, number) {
        _ if is_grpc => grpc(request),
        ("seen", _) => Response::new(full(seen::all().to_string())),
        ("fail", Some(first)) => {
            let key =
                request.headers().get("x-request-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
            let times = key.map_or(times, |key| seen::count(&key));
            let mut response = described(request, ends).await;
            if times <= first {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
        ("ws", _) => upgrade::answer(request),
        ("bytes", Some(count)) => Response::new(BodyExt::boxed(Pattern(count).map_err(|never| match never {}))),
        ("delay", Some(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            described(request, ends).await
        }
        ("status", Some(code)) => {
            let mut response = described(request, ends).await;
            let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
            *response.status_mut() = code.unwrap_or(StatusCode::BAD_REQUEST);
            response
        }
        _ => described(request, ends).await,
    }
}

/// The request as JSON, its body counted.
async fn described(request: Request<Incoming>, ends: Ends) -> Response<Answer> {
    let (head, mut body) = request.into_parts();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return with_status(StatusCode::BAD_REQUEST);
        };
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    let text = json!({
        "pod": variable_of("POD_NAME"),
        "namespace": variable_of("POD_NAMESPACE"),
        "cluster": variable_of("CLUSTER"),
        "app": variable_of("APP"),
        "version": variable_of("VERSION"),
        "service_account": variable_of("SERVICE_ACCOUNT"),
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |path| path.as_str()),
        "http": format!("{:?}", head.version),
        "headers": headers(&head.headers),
        "client": ends.client.to_string(),
        "local": ends.local.to_string(),
        "body_bytes": count,
    });
    let mut response = Response::new(full(format!("{text}\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn headers(all: &HeaderMap) -> Value {
    let mut map: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in all {
        let text = map.entry(name.as_str()).or_default();
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    json!(map)
}

/// The messages come back as they are, then `grpc-status: 0`.
fn grpc(request: Request<Incoming>) -> Response<Answer> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = request.into_body().with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An empty answer.
pub fn with_status(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(full(String::new()));
    *response.status_mut() = status;
    response
}

fn full(text: String) -> Answer {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

fn variable_of(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// So many bytes, never held at once.
struct Pattern(u64);

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 16384] = [b'u'; 16384];
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let size = CHUNK.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        self.0 -= size as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK[..size])))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0)
    }
}
