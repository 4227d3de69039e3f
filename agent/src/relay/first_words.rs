//! What a client speaks, by its first bytes: HTTP, TLS, or something that is nobody's business.
//!
//! Nothing that is not surely HTTP or TLS is held up: an opaque protocol whose client says a word and waits for an
//! answer goes on at the first byte that no request line and no ClientHello has.

use crate::route::Spoken;
use rustls::server::Acceptor;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// From the first byte until it must be clear; then it is opaque.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest request line that is waited for.
const LONGEST_LINE: usize = 8 * 1024;
/// Longest ClientHello that is waited for, in records: one with post-quantum keys has less than 2 KiB.
const LONGEST_HELLO: usize = 64 * 1024;
/// Longest method: the registered ones have up to 17 letters.
const LONGEST_METHOD: usize = 24;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const VERSION: &[u8] = b"HTTP/1.";
/// The first byte of a TLS handshake record.
const HANDSHAKE: u8 = 22;

/// Reads until it is clear what the client speaks; what was read stays in `read`, which may hold some bytes already.
/// Cancel safe.
///
/// # Errors
/// The stream's.
pub async fn hear<S: AsyncRead + Unpin>(io: &mut S, read: &mut Vec<u8>) -> io::Result<Spoken> {
    read.reserve(2048);
    if read.is_empty() && io.read_buf(read).await? == 0 {
        return Ok(Spoken::Bytes);
    }
    let clear = async {
        loop {
            if let Some(spoken) = tell(read) {
                return Ok(spoken);
            }
            if io.read_buf(read).await? == 0 {
                return Ok(Spoken::Bytes);
            }
        }
    };
    timeout(PATIENCE, clear).await.unwrap_or(Ok(Spoken::Bytes))
}

/// What these first bytes are; none where more must be read.
pub fn tell(read: &[u8]) -> Option<Spoken> {
    if read.starts_with(PREFACE) {
        return Some(Spoken::Requests);
    }
    match read.first()? {
        _ if PREFACE.starts_with(read) => None,
        &HANDSHAKE => hello(read),
        _ => request_line(read),
    }
}

/// A request line, up to its end: `METHOD target HTTP/1.x`.
fn request_line(read: &[u8]) -> Option<Spoken> {
    let end = read.iter().position(|byte| *byte == b'\n');
    let line = &read[..end.unwrap_or(read.len())];
    let parts: Vec<&[u8]> = line.splitn(3, |byte| *byte == b' ').collect();
    let version = |text: &[u8]| {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let known = text.len().min(VERSION.len());
        text[..known] == VERSION[..known] && text.len() <= VERSION.len() + 1
    };
    let plausible = match parts[..] {
        [start] => method(start),
        [start, target] => method(start) && visible(target),
        [start, target, rest] => method(start) && !target.is_empty() && visible(target) && version(rest),
        _ => false,
    };
    match end {
        _ if !plausible => Some(Spoken::Bytes),
        Some(_) if parts.len() == 3 => Some(Spoken::Requests),
        Some(_) => Some(Spoken::Bytes),
        None if read.len() >= LONGEST_LINE => Some(Spoken::Bytes),
        None => None,
    }
}

/// Methods in use are in capitals: memcached's `get` is none.
fn method(text: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-' || *byte == b'_';
    !text.is_empty() && text.len() <= LONGEST_METHOD && text.iter().all(letter)
}

fn visible(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte > b' ' && *byte != 127)
}

/// A ClientHello, however it is cut into records and segments.
fn hello(read: &[u8]) -> Option<Spoken> {
    // A record's version is 3.x, the message in it is a ClientHello (1).
    if read.get(1).is_some_and(|major| *major != 3) || read.get(5).is_some_and(|kind| *kind != 1) {
        return Some(Spoken::Bytes);
    }
    let mut acceptor = Acceptor::default();
    let mut rest = read;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Some(Spoken::Bytes);
        }
    }
    match acceptor.accept() {
        Ok(None) if read.len() < LONGEST_HELLO => None,
        Ok(Some(accepted)) => {
            let name = accepted.client_hello().server_name().map(|name| Arc::from(name.to_ascii_lowercase()));
            Some(Spoken::Tls(name))
        }
        Ok(None) | Err(_) => Some(Spoken::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::{AsyncWriteExt, duplex};

    /// A ClientHello as rustls sends it.
    fn client_hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn requests_are_told_from_other_words() {
        let opaque = Some(Spoken::Bytes);
        let requests = Some(Spoken::Requests);
        for (read, expected) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n", requests.clone()),
            ("PROPFIND /x HTTP/1.0\n", requests.clone()),
            ("CONNECT a:80 HTTP/1.1\r\n", requests.clone()),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", requests.clone()),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n", None),
            ("P", None),
            ("GE", None),
            ("GET /a HTT", None),
            ("GET /a HTTP/1.1\r", None),
            ("GET /a HTTP/2.0\r\n", opaque.clone()),
            ("GET /a\r\n", opaque.clone()),
            ("GET  HTTP/1.1\r\n", opaque.clone()),
            ("get key\r\n", opaque.clone()),
            ("PING\r\n", opaque.clone()),
            ("*1\r\n$4\r\nPING\r\n", opaque.clone()),
            ("EHLO a.example\r\n", opaque.clone()),
            ("SSH-2.0-OpenSSH_9\r\n", opaque.clone()),
            ("\0\0\0\x08\x04\x52\x16/", opaque.clone()),
            ("", None),
        ] {
            assert_eq!(tell(read.as_bytes()), expected, "{read:?}");
        }
        assert_eq!(tell(&[b'A'; 30]), opaque);
        assert_eq!(tell(&[&b"GET /"[..], &[b'a'; 9000]].concat()), opaque);
    }

    #[test]
    fn the_name_of_a_client_hello_is_found_wherever_it_is_cut() {
        let hello = client_hello("Books.example.COM");
        for cut in 1..hello.len() {
            assert_eq!(tell(&hello[..cut]), None, "cut at {cut}");
        }
        assert_eq!(tell(&hello), Some(Spoken::Tls(Some("books.example.com".into()))));
        // The same message in two records, as large ones come.
        let (header, body) = hello.split_at(5);
        let (one, two) = body.split_at(100);
        let record = |part: &[u8]| [&header[..3], &(part.len() as u16).to_be_bytes(), part].concat();
        assert_eq!(tell(&[record(one), record(two)].concat()), Some(Spoken::Tls(Some("books.example.com".into()))));
        assert_eq!(tell(&client_hello("10.0.0.1")), Some(Spoken::Tls(None)));
    }

    #[test]
    fn garbage_that_begins_like_tls_is_opaque() {
        for read in
            [&[22, 3, 1, 0, 4, 2, 0, 0, 0][..], &[22, 3, 1, 0, 4, 1, 0, 0, 0, 9], &[22, 9], &[22, 3, 1, 255, 255, 1]]
        {
            assert_eq!(tell(read), Some(Spoken::Bytes), "{read:?}");
        }
        let mut hello = client_hello("a.b");
        hello[40..].fill(0xff);
        assert_eq!(tell(&hello), Some(Spoken::Bytes));
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_unclear_is_opaque_and_nothing_is_lost() {
        let (mut client, mut near) = duplex(64);
        client.write_all(b"GET").await.unwrap();
        let mut read = Vec::new();
        assert_eq!(hear(&mut near, &mut read).await.unwrap(), Spoken::Bytes);
        assert_eq!(read, b"GET");
        client.write_all(b" / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(hear(&mut near, &mut read).await.unwrap(), Spoken::Requests);
        assert_eq!(read, b"GET / HTTP/1.1\r\n");
    }

    #[tokio::test]
    async fn a_client_that_ends_without_a_word_is_opaque() {
        let (client, mut near) = duplex(64);
        drop(client);
        assert_eq!(hear(&mut near, &mut Vec::new()).await.unwrap(), Spoken::Bytes);
    }
}
