//! gRPC over TLS: each connection with its limits, each question to the desk.

use super::desk::{Desk, Peer};
use super::signer::Signer;
use crate::identity::protocol::{CREATE_CERTIFICATE, CertificateRequest, CertificateResponse};
use crate::identity::tls::provider;
use crate::identity::voluntary::Voluntary;
use futures_util::future::BoxFuture;
use http::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::version::TLS13;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Connections at the same time: one for each node of a large cluster.
const CONNECTIONS: usize = 10_000;
/// Questions at the same time on one connection; an agent asks 16.
const STREAMS: u32 = 64;
/// The most that a question may take, in bytes. A CSR of RSA-4096 is 2 KiB.
const QUESTION: usize = 64 * 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a silent peer is asked whether it is there, and how long it may think about it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long to wait after a failed accept (such as EMFILE, which does not end by trying at once).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who connects may show a certificate of the mesh; who does not needs a token.
///
/// # Errors
/// rustls does not take it.
fn tls(signer: &Arc<Signer>) -> Result<TlsAcceptor, rustls::Error> {
    let resolver: Arc<Signer> = Arc::clone(signer);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Voluntary::new(signer.trust())))
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers for as long as the process runs.
///
/// # Errors
/// rustls does not take the configuration.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>) -> anyhow::Result<Infallible> {
    let acceptor = tls(&desk.signer)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
        tokio::spawn(async move {
            if let Err(error) = connection((stream, from), acceptor, desk).await {
                tracing::debug!(%from, error = format!("{error:#}"), "a connection ended");
            }
            drop(place);
        });
    }
}

async fn connection(
    (stream, address): (TcpStream, SocketAddr),
    acceptor: TlsAcceptor,
    desk: Arc<Desk>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            desk.counts.count("handshake_failed");
            tracing::warn!(from = %address, %error, "TLS handshake failed");
            return Ok(());
        }
        Err(_) => {
            desk.counts.count("handshake_timeout");
            return Ok(());
        }
    };
    let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let asked = Asked { desk, peer: Arc::new(Peer { address, chain }) };
    let service = service_fn(move |request| {
        let asked = asked.clone();
        async move { Ok::<_, Infallible>(route(asked, request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE.0).keep_alive_timeout(KEEPALIVE.1);
    builder.max_concurrent_streams(STREAMS).max_header_list_size(QUESTION as u32);
    Ok(builder.serve_connection(TokioIo::new(stream), service).await?)
}

async fn route(asked: Asked, request: HttpRequest<Incoming>) -> http::Response<Body> {
    if request.uri().path() != CREATE_CERTIFICATE {
        return Status::unimplemented(format!("no such method: {}", request.uri().path())).into_http();
    }
    let codec = ProstCodec::<CertificateResponse, CertificateRequest>::default();
    Grpc::new(codec).max_decoding_message_size(QUESTION).unary(asked, request).await
}

/// A question's way to the desk.
#[derive(Clone)]
struct Asked {
    desk: Arc<Desk>,
    peer: Arc<Peer>,
}

impl UnaryService<CertificateRequest> for Asked {
    type Response = CertificateResponse;
    type Future = BoxFuture<'static, Result<Response<CertificateResponse>, Status>>;

    fn call(&mut self, request: Request<CertificateRequest>) -> Self::Future {
        let Self { desk, peer } = self.clone();
        Box::pin(async move { desk.answer(&peer, request).await })
    }
}
