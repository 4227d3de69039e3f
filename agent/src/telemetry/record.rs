//! What one connection or request was: who, where, how, and how it ended.

use crate::model::Workload;
use crate::vocab::{Alpn, Direction, Hostname, Namespace, SpiffeId, Stage};
use http::{HeaderValue, Method, Uri};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct Party {
    /// The pod that has the address, where the snapshot knows one.
    pub workload: Option<Arc<Workload>>,
    /// Who it proved to be on this connection; never what configuration merely says.
    pub principal: Option<SpiffeId>,
    /// Its address.
    pub address: SocketAddr,
}

impl Party {
    fn is_same(&self, other: &Self) -> bool {
        let workload = match (&self.workload, &other.workload) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        };
        workload && self.address == other.address && self.principal == other.principal
    }

    /// An end of which only the address is known.
    pub fn address(address: SocketAddr) -> Self {
        Self { workload: None, principal: None, address }
    }
}

/// The Service that the client meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    /// The fully qualified name: label `destination_service`. Decides the other two.
    pub host: Hostname,
    /// The short name: label `destination_service_name`.
    pub name: Arc<str>,
    /// Label `destination_service_namespace`.
    pub namespace: Namespace,
    /// The Service port; in the access log only.
    pub port: u16,
}

/// How the bytes were protected between the two agents; label `connection_security_policy`.
///
/// Istio's vocabulary has `mutual_tls`, `none` and `unknown`. `mutual_tls` is said only where TLS was spoken with
/// both ends verified. Bytes that never left the node were not encrypted, so they are `none` as plaintext is, but
/// their `source_principal` is set because the network namespace proves who the client is: what STRICT would refuse
/// is `connection_security_policy="none",source_principal="unknown"`. A connection that ended before this was
/// decided is `unknown`. The access log tells all of them apart (`security`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS with both ends verified.
    MutualTls,
    /// Both pods are on this node: no TLS, identities by network namespace.
    SameNode,
    /// Plaintext.
    None,
}

impl Security {
    /// The word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::SameNode => "same_node",
            Self::None => "none",
        }
    }

    /// The value of `connection_security_policy`.
    pub(super) fn policy(security: Option<Self>) -> &'static str {
        match security {
            Some(Self::MutualTls) => "mutual_tls",
            Some(Self::SameNode | Self::None) => "none",
            None => "unknown",
        }
    }
}

/// What TLS agreed on. The words are rustls' (`TLSv1_3`, `TLS13_AES_128_GCM_SHA256`, `X25519MLKEM768`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// The protocol version.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: &'static str,
    /// The key exchange group.
    pub group: &'static str,
}

/// The tunnel that carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What its ends speak; many sessions on one connection are sessions.
    pub alpn: Alpn,
    /// Where the tunnel's TCP connection goes to (outbound), or was accepted (inbound).
    pub address: SocketAddr,
}

/// What the application speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Opaque bytes.
    Tcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// The word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }

    /// The value of `request_protocol`; Istio has one word for both versions of HTTP.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http | Self::Http2 => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// Where a connection or a request went, as far as is known. A relay keeps one per upstream and passes it with each
/// request, so that the series are looked up once.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The pod.
    pub destination: Option<Party>,
    /// The Service.
    pub service: Option<ServiceRef>,
    /// The tunnel; `None` where there is none.
    pub tunnel: Option<Tunnel>,
    /// How it was protected; `None` where that was never decided.
    pub security: Option<Security>,
    /// What TLS agreed on.
    pub tls: Option<Tls>,
}

impl Target {
    /// Whether nothing tells them apart. The connections to one pod have a value each, and clients share the connections:
    /// making a log line's fields anew for each costs 8 us.
    pub(super) fn is_same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        if Arc::ptr_eq(self, other) {
            return true;
        }
        let told = |target: &Self| (target.tunnel, target.security, target.tls);
        let parties = match (&self.destination, &other.destination) {
            (Some(own), Some(other)) => own.is_same(other),
            (None, None) => true,
            _ => false,
        };
        parties && self.service == other.service && told(self) == told(other)
    }
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Label `response_flags`: `-`, `DENY`, `CONNECT`, `TLS_FAILURE`, `IDENTITY_ERROR` ... (ztunnel's words).
    pub flag: &'static str,
    /// What went wrong, for the log.
    pub error: Option<String>,
    /// The stage it ended in.
    pub stage: Option<Stage>,
}

impl Outcome {
    /// It ended as it should.
    pub fn complete() -> Self {
        Self { flag: "-", error: None, stage: None }
    }

    /// It ended in `stage` because of `error`.
    pub fn failed(flag: &'static str, stage: Stage, error: impl std::fmt::Display) -> Self {
        Self { flag, error: Some(error.to_string()), stage: Some(stage) }
    }

    /// The record was dropped: the task was cancelled, or forgot to say.
    pub(super) fn dropped() -> Self {
        Self { flag: "DR", error: Some("ended without an outcome: its task was stopped".to_owned()), stage: None }
    }

    pub(super) fn is_failure(&self) -> bool {
        self.error.is_some() || self.flag != "-"
    }
}

/// One request and its response. Cloning header values and the URI only counts references.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// The method.
    pub method: Method,
    /// The URI of the request line; its path and query are logged.
    pub uri: Uri,
    /// `Host` or `:authority`.
    pub authority: Option<HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<HeaderValue>,
    /// `X-Request-Id`.
    pub request_id: Option<HeaderValue>,
    /// The status of the response; 0 where the client left before there was one (as Envoy).
    pub status: u16,
    /// `grpc-status`, for gRPC.
    pub grpc_status: Option<u16>,
    /// What was spoken.
    pub protocol: Protocol,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// From the request's head to the response's last byte.
    pub duration: Duration,
    /// Label `response_flags`: `-`, or why this agent answered itself (`NR`, `UF`, `UH`, `DC` ..., Envoy's words).
    pub flag: &'static str,
    /// How often it was sent or tried to be sent, retries included; 0 where it went nowhere.
    pub attempts: u32,
    /// The rule that took it, where it has a name.
    pub rule: Option<Arc<str>>,
    /// What policies say of it that decide nothing.
    pub policies: Option<Arc<str>>,
    /// What went wrong, for the log.
    pub error: Option<String>,
}

/// The value of `reporter`.
pub(super) fn reporter(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "source",
        Direction::Inbound => "destination",
    }
}
