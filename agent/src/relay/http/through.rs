//! A connection of bytes inside an HTTP request, through a proxy that makes it (DestinationRule's `tunnel`).

use crate::model::proxy_tunnel::{ProxyMethod, ProxyTunnel};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, duplex, join};
use tokio_util::io::{ReaderStream, StreamReader};

/// Bytes of ours that may wait for the proxy.
const AHEAD: usize = 64 * 1024;

/// A byte stream through a proxy.
pub trait Through: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Through for S {}

/// The proxy does not make the connection.
#[derive(Debug, Error)]
pub enum ThroughError {
    /// It went away, or does not speak HTTP.
    #[error("the proxy: {0}")]
    Http(#[from] hyper::Error),
    /// No request can name that host.
    #[error("the proxy cannot be asked: {0}")]
    Request(#[from] http::Error),
    /// It refused.
    #[error("the proxy answered {1} to {0}")]
    Status(String, StatusCode),
}

/// Asks the proxy at the other end of `io` for the connection.
///
/// # Errors
/// There is none.
pub async fn through<S>(io: S, tunnel: &ProxyTunnel) -> Result<Box<dyn Through>, ThroughError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    // It ends with the stream that is given, or with the error that is returned.
    tokio::spawn(connection.with_upgrades());
    match tunnel.method {
        ProxyMethod::Connect => connect(sender, tunnel).await,
        ProxyMethod::Post => post(sender, tunnel).await,
    }
}

type Body = BoxBody<Bytes, io::Error>;

/// RFC 9110, 9.3.6: after the answer's head, bytes.
async fn connect(sender: SendRequest<Body>, tunnel: &ProxyTunnel) -> Result<Box<dyn Through>, ThroughError> {
    let empty = Empty::new().map_err(|never| match never {}).boxed();
    let answer = asked(sender, tunnel, (Method::CONNECT, tunnel.authority()), empty).await?;
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(answer).await?)))
}

/// Each direction is the body of a message, as Envoy has it with `use_post`.
async fn post(sender: SendRequest<Body>, tunnel: &ProxyTunnel) -> Result<Box<dyn Through>, ThroughError> {
    let (near, far) = duplex(AHEAD);
    let body = StreamBody::new(ReaderStream::with_capacity(far, AHEAD).map_ok(Frame::data)).boxed();
    let answer = asked(sender, tunnel, (Method::POST, "/".to_owned()), body).await?;
    let received = answer.into_body().map_err(io::Error::other).into_data_stream();
    Ok(Box::new(join(StreamReader::new(Box::pin(received)), near)))
}

async fn asked(
    mut sender: SendRequest<Body>,
    tunnel: &ProxyTunnel,
    (method, target): (Method, String),
    body: Body,
) -> Result<Response<Incoming>, ThroughError> {
    let authority = tunnel.authority();
    let what = format!("{method} {authority}");
    let request = Request::builder().method(method).uri(target).header(HOST, authority).body(body)?;
    let answer = sender.send_request(request).await?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(ThroughError::Status(what, status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What a proxy hears that says this, and what the client reads of the stream to which it writes `ping`.
    async fn proxied(method: ProxyMethod, says: &'static str) -> (String, Result<String, String>) {
        let (io, mut proxy) = duplex(4096);
        let proxy = tokio::spawn(async move {
            let mut heard = vec![0; 4096];
            let mut len = proxy.read(&mut heard).await.unwrap();
            proxy.write_all(says.as_bytes()).await.unwrap();
            while let Ok(more @ 1..) = proxy.read(&mut heard[len..]).await {
                len += more;
            }
            String::from_utf8_lossy(&heard[..len]).into_owned()
        });
        let tunnel = ProxyTunnel { method, host: "far.example".into(), port: 443 };
        let read = async {
            let mut stream = through(io, &tunnel).await.map_err(|error| error.to_string())?;
            stream.write_all(b"ping").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut read = [0; 4];
            stream.read_exact(&mut read).await.map_err(|error| error.to_string())?;
            Ok(String::from_utf8_lossy(&read).into_owned())
        };
        let read = read.await;
        (proxy.await.unwrap(), read)
    }

    #[tokio::test]
    async fn connect_is_followed_by_bytes() {
        let (heard, read) = proxied(ProxyMethod::Connect, "HTTP/1.1 200 OK\r\n\r\npong").await;
        assert_eq!(heard, "CONNECT far.example:443 HTTP/1.1\r\nhost: far.example:443\r\n\r\nping");
        assert_eq!(read, Ok("pong".to_owned()));
    }

    #[tokio::test]
    async fn post_has_a_body_each_way() {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npong\r\n0\r\n\r\n";
        let (heard, read) = proxied(ProxyMethod::Post, answer).await;
        let head = "POST / HTTP/1.1\r\nhost: far.example:443\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(heard, format!("{head}4\r\nping\r\n0\r\n\r\n"));
        assert_eq!(read, Ok("pong".to_owned()));
    }

    #[tokio::test]
    async fn a_refusal_says_what_was_asked() {
        let (_, read) = proxied(ProxyMethod::Connect, "HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(read, Err("the proxy answered 403 Forbidden to CONNECT far.example:443".to_owned()));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error_and_no_end() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\npon";
        let (_, read) = proxied(ProxyMethod::Post, answer).await;
        assert!(read.is_err(), "{read:?}");
    }
}
