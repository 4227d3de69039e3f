//! `Upgrade: echo`: after 101 the bytes of the connection come back.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::{Answer, with_status};

/// Agrees to any protocol that is asked for; without one, 426.
pub fn answer(request: Request<Incoming>) -> Response<Answer> {
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        return with_status(StatusCode::UPGRADE_REQUIRED);
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = echo(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = with_status(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(UPGRADE, protocol);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response
}

async fn echo(mut stream: TokioIo<hyper::upgrade::Upgraded>) -> std::io::Result<()> {
    let mut buffer = vec![0; 16384];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..count]).await?;
    }
}
