//! What a connection speaks that is to be decided about by requests.

use crate::relay::first_words;
use crate::route::Spoken;
use std::io;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;

/// What it speaks. A server may speak first; then it is no HTTP.
///
/// # Errors
/// The client's stream broke, or what it says is so near to HTTP that an application may take it for that.
pub async fn hear<S: AsyncRead + Unpin>(io: &mut S, read: &mut Vec<u8>, app: Option<&TcpStream>) -> io::Result<Spoken> {
    let server_speaks = async {
        match app {
            Some(app) => drop(app.peek(&mut [0]).await),
            None => std::future::pending().await,
        }
    };
    let spoken = tokio::select! {
        biased;
        spoken = heard(io, read) => spoken?,
        () = server_speaks => Spoken::Bytes,
    };
    match spoken {
        Spoken::Bytes if is_near(read) => Err(io::Error::new(io::ErrorKind::InvalidData, NEAR)),
        spoken => Ok(spoken),
    }
}

/// RFC 9112 section 2.2: empty lines before a request are passed over.
async fn heard<S: AsyncRead + Unpin>(io: &mut S, read: &mut Vec<u8>) -> io::Result<Spoken> {
    loop {
        let spoken = first_words::hear(io, read).await?;
        let empty = read.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        if spoken != Spoken::Bytes || empty == 0 || empty > EMPTY {
            return Ok(spoken);
        }
        let lines: Vec<u8> = read.drain(..empty).collect();
        if !read.is_empty() && first_words::tell(read) == Some(Spoken::Bytes) {
            read.splice(..0, lines);
            return Ok(Spoken::Bytes);
        }
    }
}

/// Whether an application that is not strict may take it for the beginning of a request: one that has not come whole
/// in time, or one with a method that nobody uses.
fn is_near(read: &[u8]) -> bool {
    let read = read.trim_ascii_start();
    let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
    (!read.is_empty() && first_words::tell(read).is_none()) || line.windows(HTTP.len()).any(|part| part == HTTP)
}

const HTTP: &[u8] = b" HTTP/1.";
/// Empty lines that are passed over.
const EMPTY: usize = 16;
const NEAR: &str = "it begins like HTTP and is none, and a policy for the workload looks at requests";

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::net::TcpListener;

    /// A connection to an application, and the application's end.
    async fn app() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    async fn told(said: &str) -> Result<(Spoken, String), String> {
        let (near, _far) = app().await;
        let (mut client, mut io) = duplex(1024);
        client.write_all(said.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let spoken = hear(&mut io, &mut read, Some(&near)).await.map_err(|error| error.to_string())?;
        Ok((spoken, String::from_utf8(read).unwrap()))
    }

    #[tokio::test]
    async fn requests_are_found_and_what_is_near_to_them_is_refused() {
        let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(told(request).await, Ok((Spoken::Requests, request.into())));
        assert_eq!(told(&format!("\r\n\n{request}")).await, Ok((Spoken::Requests, request.into())));
        assert_eq!(told("PING\r\n").await, Ok((Spoken::Bytes, "PING\r\n".into())));
        assert_eq!(told("\r\nPING\r\n").await, Ok((Spoken::Bytes, "\r\nPING\r\n".into())));
        for near in ["get / HTTP/1.1\r\n\r\n", "G\tT / HTTP/1.1\r\n", "\r\nget / HTTP/1.0\r\n"] {
            assert!(told(near).await.is_err_and(|error| error.contains("begins like HTTP")), "{near:?}");
        }
    }

    #[tokio::test]
    async fn a_server_may_speak_first() {
        let ((near, mut far), (_client, mut io)) = (app().await, duplex(64));
        far.write_all(b"220 hello\r\n").await.unwrap();
        assert_eq!(hear(&mut io, &mut Vec::new(), Some(&near)).await.unwrap(), Spoken::Bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_whole_is_refused() {
        assert!(told("GET / HT").await.is_err());
    }
}
