//! What became of one request, for the log, the metrics and the far agent.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version, header};
use std::sync::Arc;
use std::time::Duration;

/// One request from its first header byte to its last body byte. Clones of names share the request's buffer.
#[derive(Debug, Clone)]
pub struct RequestOutcome {
    /// The method.
    pub method: Method,
    /// The request target as the client sent it, its path in the one spelling that rules are about.
    pub uri: Uri,
    /// The `Host` header of HTTP/1.
    pub host: Option<HeaderValue>,
    /// `User-Agent`, if sent.
    pub user_agent: Option<HeaderValue>,
    /// `X-Request-Id`, if sent.
    pub request_id: Option<HeaderValue>,
    /// The protocol, the same on both sides.
    pub protocol: Protocol,
    /// The status that the client got, 0 if it went before there was one.
    pub status: u16,
    /// `grpc-status` of a gRPC answer, from its trailers or its headers.
    pub grpc_status: Option<u16>,
    /// Body bytes from the client.
    pub request_bytes: u64,
    /// Body bytes to the client.
    pub response_bytes: u64,
    /// From the complete header block to the last body byte.
    pub duration: Duration,
    /// Envoy's response flag, `-` when nothing is to be said.
    pub flag: &'static str,
    /// How often it was sent, or tried to be.
    pub attempts: u32,
    /// Whether it is a mirror's copy, of which the client knows nothing.
    pub copy: bool,
    /// What answered it here, where that has a name.
    pub rule: Option<Arc<str>>,
    /// What is to be said in the log beside it.
    pub told: Option<Arc<str>>,
}

/// What a request is, as Istio's `request_protocol` label has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 that is not gRPC.
    Http2,
    /// HTTP/2 with a content type of `application/grpc`.
    Grpc,
}

impl RequestOutcome {
    /// The outcome of a request of which nothing is known but its header block.
    pub(super) fn of(request: &Parts) -> Self {
        let named = |name| request.headers.get(name).cloned();
        Self {
            method: request.method.clone(),
            uri: request.uri.clone(),
            host: named(header::HOST),
            user_agent: named(header::USER_AGENT),
            request_id: named(X_REQUEST_ID),
            protocol: Protocol::of(request),
            status: 0,
            grpc_status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            flag: NOTHING,
            attempts: 0,
            copy: false,
            rule: None,
            told: None,
        }
    }

    /// Path and query, `/` if the target has none.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// `:authority`, the authority of an absolute target, or `Host`; empty if there is none.
    pub fn authority(&self) -> &str {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        self.uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or_default()
    }
}

impl Protocol {
    /// By version and content type.
    pub(super) fn of(request: &Parts) -> Self {
        if request.version != Version::HTTP_2 {
            return Self::Http1;
        }
        let grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
        match request.headers.get(header::CONTENT_TYPE) {
            Some(kind) if grpc(kind) => Self::Grpc,
            _ => Self::Http2,
        }
    }

    /// The label's value: `http`, `http2` or `grpc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

/// Nothing went wrong.
pub(super) const NOTHING: &str = "-";
const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
