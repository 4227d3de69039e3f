//! The Kubernetes API server, as far as the CA asks it: one question per connection.

use crate::identity::files::{FileError, certificates_in};
use crate::identity::tls;
use crate::options::KubeOptions;
use crate::relay::http::ask::{self, AskError};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of its answer: the pods of a large node, several times over.
const MOST: usize = 64 << 20;
/// Questions at the same time.
const AT_ONCE: usize = 32;

/// The API server cannot be asked.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The token or the root.
    #[error(transparent)]
    File(#[from] FileError),
    /// The roots cannot be used.
    #[error("the API server's root: {0}")]
    Tls(#[from] rustls::Error),
    /// `--kube-api` is none.
    #[error("`{0}` is no http or https address of an API server")]
    Address(String),
    /// It is not there.
    #[error("the API server {0}: {1}")]
    Connect(String, io::Error),
    /// It went away.
    #[error("the API server: {0}")]
    Ask(#[from] AskError),
    /// It took too long.
    #[error("the API server did not answer within {PATIENCE:?}")]
    Slow,
    /// It refused, as it does where the CA's account has not the role.
    #[error("the API server answered {0}")]
    Status(StatusCode),
    /// Its answer is something else.
    #[error("the API server's answer is not understood: {0}")]
    Answer(String),
}

/// The API server.
pub struct Api {
    options: KubeOptions,
    places: Semaphore,
}

impl Api {
    /// Asks nothing yet.
    pub fn new(options: KubeOptions) -> Self {
        Self { options, places: Semaphore::new(AT_ONCE) }
    }

    /// What is at that path.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// What comes of creating this object.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, object: &Value) -> Result<T, ApiError> {
        self.ask(Method::POST, path, Bytes::from(object.to_string())).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ApiError> {
        let answer = async {
            let _place = self.places.acquire().await;
            self.send(method, path, body).await
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| ApiError::Slow)??;
        serde_json::from_slice(&answer).map_err(|error| ApiError::Answer(error.to_string()))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let url = &self.options.kube_api;
        let bad = || ApiError::Address(url.clone());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?.trim_start_matches('[').trim_end_matches(']');
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let failed = |error| ApiError::Connect(url.clone(), error);
        let mut request = self.request(&uri, body)?;
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| ApiError::Address(path.to_owned()))?;
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        let answer = if secure {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;
            let config = tls::client_of(&certificates_in(&self.options.kube_api_ca)?, &[])?;
            let stream = TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
            ask::once(stream, request, MOST).await?
        } else {
            ask::once(stream, request, MOST).await?
        };
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            status => Err(ApiError::Status(status)),
        }
    }

    fn request(&self, uri: &Uri, body: Bytes) -> Result<Request<Full<Bytes>>, ApiError> {
        let file = &self.options.kube_api_token;
        let own = std::fs::read_to_string(file);
        let own = own.map_err(|error| FileError::new(file, format!("cannot be read: {error}")))?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", own.trim()));
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::new(Full::from(body));
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer.map_err(|_| FileError::new(file, "holds no token"))?);
        headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| ApiError::Address(uri.to_string()))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request)
    }
}
