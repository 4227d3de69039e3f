//! HTTP/1 or HTTP/2, by the first bytes (RFC 9113 section 3.4: the preface is no valid HTTP/1 request).

use bytes::Bytes;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the client speaks, with the bytes that told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    First(Bytes),
    Second(Bytes),
    /// It closed without a word.
    Nothing,
}

/// Reads until it is clear. `seen` is called once, when the first byte came.
///
/// # Errors
/// The stream's.
pub(super) async fn detect<S: AsyncRead + Unpin>(io: &mut S, seen: impl FnOnce()) -> io::Result<Spoken> {
    let mut start = [0; PREFACE.len()];
    let mut len = 0;
    let mut seen = Some(seen);
    loop {
        let read = io.read(&mut start[len..]).await?;
        len += read;
        if len == 0 {
            return Ok(Spoken::Nothing);
        }
        if let Some(seen) = seen.take() {
            seen();
        }
        let bytes = &start[..len];
        if read == 0 || bytes != &PREFACE[..len] {
            return Ok(Spoken::First(Bytes::copy_from_slice(bytes)));
        }
        if len == PREFACE.len() {
            return Ok(Spoken::Second(Bytes::from_static(PREFACE)));
        }
    }
}
