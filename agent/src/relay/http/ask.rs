//! Requests of the agent's own: short questions with short answers, over streams that the caller opened.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The connection, or what came over it.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// More than was asked for.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
}

/// Asks once, in HTTP/1.1, and closes.
///
/// # Errors
/// There is no answer, or one of more than `most` bytes.
pub async fn once<S>(io: S, request: Request<Full<Bytes>>, most: usize) -> Result<Response<Bytes>, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        whole(answer, most).await
    };
    tokio::select! {
        answer = answer => answer,
        // It goes on to the end of what the server sends; then the answer is there, or never will be.
        () = driven(connection) => std::future::pending().await,
    }
}

async fn driven<S: AsyncRead + AsyncWrite + Unpin>(connection: http1::Connection<TokioIo<S>, Full<Bytes>>) {
    if connection.await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// An HTTP/2 connection for many questions at once.
#[derive(Clone, Debug)]
pub struct Line {
    sender: http2::SendRequest<Full<Bytes>>,
    id: Arc<()>,
}

impl Line {
    /// Speaks HTTP/2 on a stream. A peer that vanishes is noticed.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn open<S>(io: S) -> Result<Self, AskError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PATIENCE);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the agent's own ended");
            }
        });
        Ok(Self { sender, id: Arc::default() })
    }

    /// Whether it can still be asked.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether it is the very same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.id, &other.id)
    }

    /// Asks, and waits for the whole answer with its trailers among the headers.
    ///
    /// # Errors
    /// There is no answer, or one of more than `most` bytes.
    pub async fn ask(&self, request: Request<Full<Bytes>>, most: usize) -> Result<Response<Bytes>, AskError> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        whole(answer, most).await
    }
}

/// Trailers go to the headers, where a gRPC answer without a body has its status too.
async fn whole(answer: Response<Incoming>, most: usize) -> Result<Response<Bytes>, AskError> {
    let (mut head, body) = answer.into_parts();
    let collected = Limited::new(body, most).collect().await;
    let collected = collected.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => AskError::Http(*error),
        Err(other) => {
            debug_assert!(other.is::<LengthLimitError>());
            AskError::TooLong(most)
        }
    })?;
    if let Some(trailers) = collected.trailers() {
        head.headers.extend(trailers.clone());
    }
    Ok(Response::from_parts(head, collected.to_bytes()))
}

const PING: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    /// What comes of asking a server that says this, and stays.
    async fn asked(says: &'static str, most: usize) -> Result<Response<Bytes>, AskError> {
        let (io, mut server) = duplex(1024);
        tokio::spawn(async move {
            let _ = server.read(&mut [0; 512]).await;
            let _ = server.write_all(says.as_bytes()).await;
            std::future::pending::<()>().await;
        });
        let asked = once(io, Request::get("/").body(Full::default()).unwrap(), most);
        timeout(Duration::from_secs(60), asked).await.expect("it does not hang")
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_has_one_answer_or_an_error() {
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(asked(good, 2).await.unwrap().into_body(), "hi");
        assert!(matches!(asked(good, 1).await, Err(AskError::TooLong(1))));
        assert!(matches!(asked("nonsense\r\n\r\n", 9).await, Err(AskError::Http(_))));
        let broken = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        assert!(matches!(asked(broken, 9).await, Err(AskError::Http(_))));
    }
}
