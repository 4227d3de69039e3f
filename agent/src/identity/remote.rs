//! The client of a certificate authority that speaks Istio's protocol: ours, istiod's, any.

use super::files::{FileError, certificates_in};
use super::protocol::{CLUSTER_ID, CREATE_CERTIFICATE, CertificateRequest, CertificateResponse};
use super::tls;
use crate::vocab::SpiffeId;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// How long one question may take, connection and all.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a connection that is used by nobody is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where the authority is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Host and port; the host is what its certificate must name.
    pub address: String,
    /// The root of its certificate, PEM; read for every connection.
    pub root_cert: PathBuf,
    /// This agent's service account token; read for every question: the kubelet replaces it.
    pub token: PathBuf,
    /// The cluster that the token is of.
    pub cluster: String,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The root or the token cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The address is no host with a port.
    #[error("`{0}` is no HOST:PORT of a certificate authority")]
    Address(String),
    /// The host cannot be named by a certificate.
    #[error("the certificate authority's host: {0}")]
    Host(#[from] InvalidDnsNameError),
    /// It is not there, or not who it should be.
    #[error("certificate authority {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// It does not speak HTTP/2, or went away.
    #[error("certificate authority: {0}")]
    Http(#[from] hyper::Error),
    /// The roots cannot be used.
    #[error("the certificate authority's root: {0}")]
    Tls(#[from] rustls::Error),
    /// It takes too long.
    #[error("the certificate authority did not answer within {PATIENCE:?}")]
    Slow,
    /// It says no.
    #[error("the certificate authority refused: {code:?}: {message}", code = .0.code(), message = .0.message())]
    Refused(Box<Status>),
    /// Its answer cannot be used.
    #[error("the certificate authority's answer: {0}")]
    Answer(String),
}

impl RemoteError {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Address(_) | Self::Host(_) | Self::Connect { .. } | Self::Http(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Slow => "timeout",
            Self::Refused(status) => match status.code() {
                Code::PermissionDenied => "permission_denied",
                Code::Unauthenticated => "unauthenticated",
                Code::InvalidArgument => "invalid_argument",
                Code::Unavailable => "unavailable",
                _ => "refused",
            },
            Self::Answer(_) => "answer",
        }
    }
}

/// The authority, with the connection to it.
pub struct Remote {
    options: RemoteOptions,
    connection: Mutex<Option<Connection>>,
}

impl Remote {
    /// Nothing is connected yet.
    pub fn new(options: RemoteOptions) -> Self {
        Self { options, connection: Mutex::new(None) }
    }

    /// What it was made of.
    pub fn options(&self) -> &RemoteOptions {
        &self.options
    }

    /// Asks for a certificate of `id` for the key of `csr`: PEM, leaf first, the root last.
    ///
    /// # Errors
    /// Nobody answered, or with a refusal.
    pub async fn certify(&self, id: &SpiffeId, csr: String, lifetime: Duration) -> Result<Vec<String>, RemoteError> {
        match timeout(PATIENCE, self.ask(id, csr, lifetime)).await {
            Ok(answered) => answered,
            Err(_) => {
                *self.connection.lock().await = None;
                Err(RemoteError::Slow)
            }
        }
    }

    async fn ask(&self, id: &SpiffeId, csr: String, lifetime: Duration) -> Result<Vec<String>, RemoteError> {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut request = Request::new(CertificateRequest::impersonating(csr, id.to_string(), seconds));
        request.metadata_mut().insert("authorization", self.bearer()?);
        if let Ok(cluster) = self.options.cluster.parse() {
            request.metadata_mut().insert(CLUSTER_ID, cluster);
        }
        let origin = format!("https://{}", self.options.address).parse();
        let origin = origin.map_err(|_| RemoteError::Address(self.options.address.clone()))?;
        let mut client = tonic::client::Grpc::with_origin(self.connected().await?, origin);
        client.ready().await?;
        let path = http::uri::PathAndQuery::from_static(CREATE_CERTIFICATE);
        let codec = ProstCodec::<CertificateRequest, CertificateResponse>::default();
        match client.unary(request, path, codec).await {
            Ok(response) => Ok(response.into_inner().cert_chain),
            Err(status) => Err(RemoteError::Refused(Box::new(status))),
        }
    }

    fn bearer(&self) -> Result<AsciiMetadataValue, FileError> {
        let file = &self.options.token;
        let token = std::fs::read_to_string(file);
        let token = token.map_err(|error| FileError::new(file, format!("cannot be read: {error}")))?;
        let bearer = format!("Bearer {}", token.trim()).parse();
        let mut bearer: AsciiMetadataValue = bearer.map_err(|_| FileError::new(file, "holds no token"))?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }

    /// The connection, made where there is none or it ended.
    async fn connected(&self) -> Result<Connection, RemoteError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref().filter(|connection| !connection.0.is_closed()) {
            return Ok(connection.clone());
        }
        let made = self.connect().await?;
        *connection = Some(made.clone());
        Ok(made)
    }

    async fn connect(&self) -> Result<Connection, RemoteError> {
        let address = &self.options.address;
        let host = address.rsplit_once(':').map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'));
        let host = host.filter(|host| !host.is_empty()).ok_or_else(|| RemoteError::Address(address.clone()))?;
        let name = ServerName::try_from(host.to_owned())?;
        let failed = |source| RemoteError::Connect { address: address.clone(), source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let stream = TlsConnector::from(self.client()?).connect(name, stream).await.map_err(failed)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the certificate authority ended");
            }
        });
        Ok(Connection(sender))
    }

    /// No certificate of ours: the token says who we are, also when there is none yet.
    fn client(&self) -> Result<Arc<ClientConfig>, RemoteError> {
        Ok(tls::client_of(&certificates_in(&self.options.root_cert)?, &[b"h2"])?)
    }
}

/// An HTTP/2 connection as tonic uses it.
#[derive(Clone)]
struct Connection(SendRequest<Body>);

type Answering = futures_util::future::BoxFuture<'static, hyper::Result<http::Response<hyper::body::Incoming>>>;

impl tower_service::Service<http::Request<Body>> for Connection {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
