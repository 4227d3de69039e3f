//! Lines come back with a prefix, as from Istio's tcp-echo-server.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Echoes until the client has said everything.
pub async fn echo(stream: TcpStream, prefix: &str) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::with_capacity(64 * 1024, read);
    let mut line = Vec::new();
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix} ") };
    loop {
        line.clear();
        line.extend_from_slice(prefix.as_bytes());
        match lines.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}
