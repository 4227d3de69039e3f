//! The smallest HTTP client: one GET, for admin, health and metrics addresses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Status and body of a GET. HTTP/1.0, so that no chunking has to be understood.
///
/// # Errors
/// Nobody listens, or no HTTP comes back within 10 s.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let wait = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, wait).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(wait))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("GET http://{address}{path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}
