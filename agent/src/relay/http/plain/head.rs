//! The header block of a request, and whether it is one of the plain kind.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use memchr::{memchr_iter, memmem};
use std::mem::MaybeUninit;

/// A request that is framed in one way only, and asks for nothing that concerns its connection but to close it.
pub(super) struct Head {
    pub(super) parts: Parts,
    /// As it came, with the empty line.
    pub(super) block: Bytes,
    /// Bytes of its body; none where it does not speak of one.
    pub(super) length: Option<usize>,
    /// It is the client's last.
    pub(super) closes: bool,
}

/// What a client has sent so far.
pub(super) enum Look {
    /// Not all of a header block.
    Partial,
    /// What hyper has to look at: this, and what comes after it.
    Odd(Bytes),
    Plain(Box<Head>),
}

/// Fields of a header block, as hyper allows them.
pub(super) const FIELDS: usize = 100;
/// Header block and body of a plain request: all of it is kept until it is answered.
const WHOLE: usize = 32 * 1024;

/// Looks at what came. `seen` bytes were looked at before, and had no end of a block.
pub(super) fn look(buffer: &mut BytesMut, seen: usize, most: usize) -> Look {
    let from = seen.saturating_sub(3);
    let Some(end) = memmem::find(&buffer[from..], b"\r\n\r\n") else {
        return if buffer.len() > most.min(WHOLE) { Look::Odd(buffer.split().freeze()) } else { Look::Partial };
    };
    let block = buffer.split_to(from + end + 4).freeze();
    match plain(&block).filter(|head| block.len() + head.length.unwrap_or(0) <= most.min(WHOLE)) {
        Some(head) => Look::Plain(Box::new(head)),
        None => Look::Odd(block),
    }
}

fn plain(block: &Bytes) -> Option<Head> {
    // httparse takes a bare LF for the end of a line.
    if !memchr_iter(b'\n', block).all(|at| at > 0 && block[at - 1] == b'\r') {
        return None;
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    if !request.parse_with_uninit_headers(block, &mut fields).ok()?.is_complete() || request.version != Some(1) {
        return None;
    }
    let target = request.path.filter(|path| path.starts_with('/'))?;
    let mut parts = Request::new(()).into_parts().0;
    parts.version = Version::HTTP_11;
    parts.method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    parts.uri = Uri::from_maybe_shared(block.slice_ref(target.as_bytes())).ok()?;
    parts.headers = HeaderMap::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        let value = HeaderValue::from_maybe_shared(block.slice_ref(field.value)).ok()?;
        parts.headers.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, value);
    }
    let closes = closes(&parts.headers)?;
    let length = length(&parts.headers)?;
    is_plain(&parts).then(|| Head { parts, block: block.clone(), length, closes })
}

/// Nothing in it is about the connection, about how it is framed, or asks for more than an answer.
fn is_plain(parts: &Parts) -> bool {
    let headers = &parts.headers;
    let odd = [TRANSFER_ENCODING, UPGRADE, EXPECT, TE, ATTEMPT];
    parts.method != Method::CONNECT
        && headers.get_all(HOST).iter().count() == 1
        && odd.iter().all(|name| !headers.contains_key(name))
        && headers.get(CONTENT_TYPE).is_none_or(|kind| !kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether the client closes; none where it says something else of the connection.
fn closes(headers: &HeaderMap) -> Option<bool> {
    let mut said = headers.get_all(CONNECTION).iter();
    let Some(first) = said.next() else { return Some(false) };
    if said.next().is_some() {
        return None;
    }
    match first.as_bytes() {
        value if value.eq_ignore_ascii_case(b"keep-alive") => Some(false),
        value if value.eq_ignore_ascii_case(b"close") => Some(true),
        _ => None,
    }
}

/// The length of the body, if there is one; none where it is not clear.
fn length(headers: &HeaderMap) -> Option<Option<usize>> {
    let mut said = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = said.next() else { return Some(None) };
    let digits = first.as_bytes().iter().all(u8::is_ascii_digit) && said.next().is_none();
    let length = first.to_str().ok().filter(|_| digits)?.parse().ok()?;
    Some(Some(length))
}

/// Set by retries; a client that sets it itself is rare.
pub(super) const ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(text: &str) -> Look {
        look(&mut BytesMut::from(text), 0, 64 * 1024)
    }

    #[test]
    fn a_plain_request_is_known_when_its_block_is_complete() {
        let text = "POST /a?b HTTP/1.1\r\nHost: a\r\nconnection: Close\r\ncontent-length: 3\r\n\r\n";
        let Look::Plain(head) = looked(&format!("{text}abcGET")) else { panic!() };
        assert_eq!((head.parts.uri.to_string().as_str(), head.length, head.closes), ("/a?b", Some(3), true));
        assert_eq!(head.block, text);
        for end in 0..text.len() {
            assert!(matches!(looked(&text[..end]), Look::Partial), "{:?}", &text[..end]);
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_hyper_as_it_came() {
        let long = format!("x: {}", "a".repeat(40_000));
        for line in [
            "transfer-encoding: chunked",
            "connection: upgrade\r\nupgrade: websocket",
            "connection: keep-alive, x",
            "expect: 100-continue",
            "te: trailers",
            "content-length: +3",
            "content-length: 3\r\ncontent-length: 3",
            "content-length: 99999",
            "content-length:",
            "host: b",
            "x: y\nz: w",
            "x : y",
            " x: y",
            "x-envoy-attempt-count: 2",
            "content-type: application/grpc",
            long.as_str(),
        ] {
            let text = format!("POST / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n");
            let Look::Odd(bytes) = looked(&format!("{text}rest")) else { panic!("{line:?} is plain") };
            assert_eq!(bytes, text);
        }
        for start in
            ["GET / HTTP/1.0", "CONNECT a:1 HTTP/1.1", "GET http://a/ HTTP/1.1", "OPTIONS * HTTP/1.1", "nonsense"]
        {
            assert!(matches!(looked(&format!("{start}\r\nhost: a\r\n\r\n")), Look::Odd(_)), "{start}");
        }
        assert!(matches!(looked(&"a".repeat(40_000)), Look::Odd(_)), "a block without an end");
    }
}
