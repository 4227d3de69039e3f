//! External authorizers, as `extensionProviders` of Istio's MeshConfig names them.

use super::{ObjectId, Origin};
use crate::vocab::Hostname;
use http::{HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// All that one MeshConfig names.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtensionProviders {
    /// The ConfigMap.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// By their names, which policies with the action CUSTOM say.
    pub authorizers: BTreeMap<Arc<str>, Arc<Authorizer>>,
}

/// Who is asked whether a request may come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorizer {
    /// Its name.
    pub name: Arc<str>,
    /// Its Service, or a host outside of the mesh.
    pub host: Hostname,
    /// Its port there.
    pub port: u16,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether what it gives no answer about is let in.
    pub fail_open: bool,
    /// What the client of such a request gets otherwise.
    pub status_on_error: StatusCode,
    /// How it is asked.
    pub protocol: CheckProtocol,
}

/// How an authorizer is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckProtocol {
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
    /// The request's head, sent to it as a request of its own.
    Http(HttpCheck),
}

/// What of a request goes to an authorizer that speaks HTTP, and what of its answer counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpCheck {
    /// Before the request's path.
    pub path_prefix: Arc<str>,
    /// Headers of the request that it gets, beside `host` and `authorization`.
    pub request_headers: Box<[NamePattern]>,
    /// Headers that it gets in addition.
    pub additional: Box<[(HeaderName, HeaderValue)]>,
    /// Headers of its answer that the application gets where it allows.
    pub upstream_on_allow: Box<[NamePattern]>,
    /// Headers of its answer that the client gets where it denies; none is all.
    pub downstream_on_deny: Box<[NamePattern]>,
    /// Headers of its answer that the client gets where it allows.
    pub downstream_on_allow: Box<[NamePattern]>,
}

/// Which headers are meant: one, or those that begin or end so. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This one.
    Exact(Arc<str>),
    /// `text*`.
    Prefix(Arc<str>),
    /// `*text`; `*` is all.
    Suffix(Arc<str>),
}

impl NamePattern {
    /// As Istio writes them.
    pub fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(end), _) => Self::Suffix(end.into()),
            (None, Some(start)) => Self::Prefix(start.into()),
            (None, None) => Self::Exact(text.into()),
        }
    }

    /// Whether it means this header.
    pub fn takes(&self, name: &HeaderName) -> bool {
        match self {
            Self::Exact(same) => **same == *name.as_str(),
            Self::Prefix(start) => name.as_str().starts_with(&**start),
            Self::Suffix(end) => name.as_str().ends_with(&**end),
        }
    }
}
