//! The API server's word on a token: `authentication.k8s.io/v1` TokenReview.

use crate::identity::files::{FileError, certificates_in};
use crate::identity::tls;
use crate::options::KubeOptions;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of its answer.
const MOST: usize = 1 << 20;

/// The API server cannot be asked.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// The token or the root.
    #[error(transparent)]
    File(#[from] FileError),
    /// `--kube-api` is none.
    #[error("`{0}` is no http or https address of an API server")]
    Address(String),
    /// It is not there.
    #[error("the API server {0}: {1}")]
    Connect(String, std::io::Error),
    /// It went away.
    #[error("the API server: {0}")]
    Http(#[from] hyper::Error),
    /// The root.
    #[error("the API server's root: {0}")]
    Tls(#[from] rustls::Error),
    /// It took too long.
    #[error("the API server did not answer within {PATIENCE:?}")]
    Slow,
    /// It refused, as it does where the CA may not create TokenReviews.
    #[error("the API server answered {0}")]
    Status(StatusCode),
    /// Its answer is no TokenReview.
    #[error("the API server's answer is no TokenReview: {0}")]
    Answer(String),
}

/// Who holds a token.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// What the token is bound to.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    error: String,
    user: Option<User>,
}

/// The API server that is asked.
pub struct Review {
    options: KubeOptions,
    audience: String,
}

impl Review {
    /// Asks nothing yet.
    pub fn new(options: KubeOptions, audience: String) -> Self {
        Self { options, audience }
    }

    /// Whose token it is; inside, why it is nobody's.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub async fn review(&self, token: &str) -> Result<Result<User, String>, ReviewError> {
        let answered = tokio::time::timeout(PATIENCE, self.ask(token)).await.map_err(|_| ReviewError::Slow)??;
        let status = serde_json::from_slice::<Answer>(&answered);
        let status = status.map_err(|error| ReviewError::Answer(error.to_string()))?.status;
        if !status.authenticated {
            let why = if status.error.is_empty() { "the API server does not know it".to_owned() } else { status.error };
            return Ok(Err(why));
        }
        // An API server that does not know of audiences answers with none, and vouches for any token.
        if !status.audiences.contains(&self.audience) {
            return Ok(Err(format!("it is not for audience `{}`", self.audience)));
        }
        Ok(status.user.ok_or_else(|| "the API server does not say whose it is".to_owned()))
    }

    async fn ask(&self, token: &str) -> Result<Bytes, ReviewError> {
        let url = &self.options.kube_api;
        let bad = || ReviewError::Address(url.clone());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?.trim_start_matches('[').trim_end_matches(']');
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let failed = |error| ReviewError::Connect(url.clone(), error);
        let request = self.request(&uri, token)?;
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        if !secure {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;
        let connector = TlsConnector::from(tls::client_of(&certificates_in(&self.options.kube_api_ca)?, &[])?);
        exchange(connector.connect(name, stream).await.map_err(failed)?, request).await
    }

    fn request(&self, uri: &Uri, token: &str) -> Result<Request<Full<Bytes>>, ReviewError> {
        let file = &self.options.kube_api_token;
        let own = std::fs::read_to_string(file);
        let own = own.map_err(|error| FileError::new(file, format!("cannot be read: {error}")))?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", own.trim()));
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": [self.audience] },
        });
        let mut request = Request::new(Full::from(review.to_string()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = Uri::from_static(PATH);
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer.map_err(|_| FileError::new(file, "holds no token"))?);
        headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| ReviewError::Address(uri.to_string()))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, ReviewError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await;
    connection.abort();
    if status != StatusCode::CREATED && status != StatusCode::OK {
        return Err(ReviewError::Status(status));
    }
    Ok(body.map_err(|error| ReviewError::Answer(error.to_string()))?.to_bytes())
}
