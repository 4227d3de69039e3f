//! Opaque bytes between two streams: passthrough, plaintext, the same node, and HBONE.

use crate::vocab::Traffic;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

/// Bytes of each direction's buffer. 64, 128 and 256 KiB made no difference (kernel-facts.md); less memory does.
const BUFFER: usize = 32 * 1024;

/// Copies until both directions have ended, each on its own; counts while it does.
///
/// # Errors
/// The first error of either stream. Nothing more is copied then.
pub async fn copy<C, S>(client: &mut C, server: &mut S, traffic: &Traffic) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Counted { stream: client, count: &|len| traffic.add_to_server(len) };
    let mut server = Counted { stream: server, count: &|len| traffic.add_to_client(len) };
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}

/// A stream whose reads are counted.
struct Counted<'a, S> {
    stream: &'a mut S,
    count: &'a (dyn Fn(usize) + Send + Sync),
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(cx, out);
        (self.count)(out.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_half_that_ended_leaves_the_other_open_and_all_is_counted() {
        let ((mut user, mut near), (mut far, mut app)) = (duplex(64), duplex(64));
        let traffic = Traffic::default();
        let talk = async {
            user.write_all(&[1; 1000]).await.unwrap();
            user.shutdown().await.unwrap();
            let mut answer = Vec::new();
            user.read_to_end(&mut answer).await.unwrap();
            answer.len()
        };
        let serve = async {
            let mut request = Vec::new();
            app.read_to_end(&mut request).await.unwrap();
            app.write_all(&request[..500]).await.unwrap();
            app.shutdown().await.unwrap();
        };
        let (answer, (), copied) = tokio::join!(talk, serve, copy(&mut near, &mut far, &traffic));
        copied.unwrap();
        assert_eq!((answer, traffic.to_server(), traffic.to_client()), (500, 1000, 500));
    }
}
