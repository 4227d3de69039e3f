//! The header block of an answer: what of it goes on, and where the body ends.

use super::head::FIELDS;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::Header;
use memchr::memmem;
use std::mem::MaybeUninit;

/// A header block, read from the front of a buffer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Bytes of the block in the buffer.
    pub(super) len: usize,
    pub(super) body: Framing,
    /// The connection can carry another request after it.
    pub(super) reusable: bool,
    /// It has a field that may be a reason for a retry.
    pub(super) marked: bool,
}

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    /// At the connection's end.
    Close,
}

/// The answer is not HTTP, or could be framed in two ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Reply {
    /// Reads the block of an answer to such a request; none if not all of it is there. Interim answers are skipped:
    /// they are taken off the buffer.
    ///
    /// # Errors
    /// It is malformed, or longer than `most`.
    pub(super) fn read(buffer: &mut BytesMut, to: &Method, most: usize) -> Result<Option<Self>, Malformed> {
        loop {
            let Some(end) = memmem::find(buffer, b"\r\n\r\n") else {
                return if bare(buffer) || buffer.len() > most { Err(Malformed) } else { Ok(None) };
            };
            let len = end + 4;
            let reply = Self::of(&buffer[..len], to).filter(|_| len <= most).ok_or(Malformed)?;
            if !reply.status.is_informational() || reply.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(reply));
            }
            drop(buffer.split_to(len));
        }
    }

    fn of(block: &[u8], to: &Method) -> Option<Self> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let read = parse(&mut response, block, &mut fields)?;
        let status = StatusCode::from_u16(response.code?).ok()?;
        let mut said = Said { keeps: response.version == Some(1), ..Said::default() };
        for field in response.headers.iter() {
            said.field(field)?;
        }
        let body = said.framing(status, to)?;
        // Who says both may have been understood in another way before (RFC 9112 section 6.3).
        let twice = said.chunked.is_some() && said.length.is_some();
        let reusable = said.keeps && body != Framing::Close && !twice;
        Some(Self { status, len: read, body, reusable, marked: said.marked })
    }

    /// Appends the block, without the empty line, as the client is to have it.
    pub(super) fn pass(&self, buffer: &[u8], shape: Option<&dyn Fn(&mut HeaderMap)>, out: &mut Vec<u8>) {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let Some(_) = parse(&mut response, &buffer[..self.len], &mut fields) else { return };
        status_line(self.status, response.reason, out);
        let listed = response.headers.iter().filter(|field| is(field, "connection")).map(|field| field.value);
        let listed = listed.filter(|value| !plain_words(value)).collect::<Vec<_>>();
        let chunked = self.body == Framing::Chunked;
        let goes_on = |field: &&Header<'_>| {
            !(of_hop(field.name) || lists(&listed, field.name) || chunked && is(field, "content-length"))
        };
        let kept = response.headers.iter().filter(goes_on);
        match shape {
            None => kept.for_each(|field| line(field.name, field.value, out)),
            Some(shape) => shaped(kept.copied(), shape, out),
        }
        if self.body == Framing::Close {
            line("transfer-encoding", b"chunked", out);
        }
    }

    /// All fields.
    pub(super) fn fields(&self, buffer: &[u8]) -> HeaderMap {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut response = httparse::Response::new(&mut []);
        parse(&mut response, &buffer[..self.len], &mut fields);
        map(response.headers.iter().copied())
    }
}

fn parse<'b, 'h>(
    response: &mut httparse::Response<'h, 'b>,
    block: &'b [u8],
    fields: &'h mut [MaybeUninit<Header<'b>>],
) -> Option<usize> {
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(response, block, fields);
    match parsed.ok()? {
        httparse::Status::Complete(read) => Some(read),
        httparse::Status::Partial => None,
    }
}

/// What a block says so far.
#[derive(Default)]
struct Said {
    keeps: bool,
    length: Option<u64>,
    chunked: Option<bool>,
    marked: bool,
}

impl Said {
    /// None where it cannot be right.
    fn field(&mut self, field: &Header<'_>) -> Option<()> {
        let known = matches!(field.name.as_bytes().first()?, b'c' | b'C' | b't' | b'T' | b'g' | b'G' | b'x' | b'X');
        if !known {
            return Some(());
        }
        if is(field, "content-length") {
            let length = std::str::from_utf8(field.value).ok()?;
            let digits = length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse().ok().filter(|_| digits)?;
            return (self.length.replace(length).unwrap_or(length) == length).then_some(());
        }
        if is(field, "transfer-encoding") {
            let last = field.value.rsplit(|byte| *byte == b',').next()?.trim_ascii();
            self.chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
        } else if is(field, "connection") {
            self.keeps &= !words(field.value).any(|word| word.eq_ignore_ascii_case(b"close"));
        }
        self.marked |= is(field, "grpc-status") || is(field, "x-envoy-ratelimited");
        Some(())
    }

    fn framing(&self, status: StatusCode, to: &Method) -> Option<Framing> {
        if *to == Method::HEAD || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
            return Some(Framing::None);
        }
        match (self.chunked, self.length) {
            (Some(true), _) => Some(Framing::Chunked),
            (Some(false), Some(_)) => None,
            (Some(false) | None, None) => Some(Framing::Close),
            (None, Some(0)) => Some(Framing::None),
            (None, Some(length)) => Some(Framing::Length(length)),
        }
    }
}

/// A line that ends with LF alone: no block that ends with CRLF has it, and one that does not will never end.
fn bare(buffer: &[u8]) -> bool {
    memmem::find(buffer, b"\n\n").is_some()
}

pub(super) fn status_line(status: StatusCode, reason: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.or(status.canonical_reason()).unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends fields after an edit. What frames the message is not edited; names that were there keep their spelling.
pub(super) fn shaped<'a>(
    fields: impl Iterator<Item = Header<'a>> + Clone,
    shape: &dyn Fn(&mut HeaderMap),
    out: &mut Vec<u8>,
) {
    let (framing, other): (Vec<_>, Vec<_>) = fields.partition(|field| frames(field.name));
    let mut edited = map(other.iter().copied());
    shape(&mut edited);
    for (name, value) in edited.iter().filter(|(name, _)| !frames(name.as_str())) {
        let as_came = other.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_str()));
        line(as_came.map_or(name.as_str(), |field| field.name), value.as_bytes(), out);
    }
    framing.iter().for_each(|field| line(field.name, field.value, out));
}

fn map<'a>(fields: impl Iterator<Item = Header<'a>>) -> HeaderMap {
    let parsed = fields.filter_map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(field.value).ok()?))
    });
    let mut map = HeaderMap::new();
    parsed.for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

fn frames(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// Fields that belong to one hop, by name.
pub(super) fn of_hop(name: &str) -> bool {
    ["connection", "keep-alive", "proxy-connection", "upgrade"].iter().any(|one| name.eq_ignore_ascii_case(one))
}

fn lists(connection: &[&[u8]], name: &str) -> bool {
    let named = || connection.iter().flat_map(|value| words(value));
    !connection.is_empty() && !frames(name) && named().any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn plain_words(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn is(field: &Header<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Reply>, Malformed> {
        Reply::read(&mut BytesMut::from(text), &Method::GET, 1000)
    }

    fn framing(lines: &str) -> Option<(Framing, bool)> {
        let reply = read(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).ok()?.unwrap();
        Some((reply.body, reply.reusable))
    }

    #[test]
    fn a_body_ends_where_its_block_says() {
        assert_eq!(framing("Content-Length: 3\r\n"), Some((Framing::Length(3), true)));
        assert_eq!(framing("content-length: 0\r\nconnection: close\r\n"), Some((Framing::None, false)));
        assert_eq!(framing("transfer-encoding: gzip, Chunked\r\n"), Some((Framing::Chunked, true)));
        assert_eq!(framing("transfer-encoding: gzip\r\n"), Some((Framing::Close, false)));
        assert_eq!(framing("x: y\r\n"), Some((Framing::Close, false)));
        assert_eq!(framing("content-length: 3\r\ncontent-length: 3\r\n"), Some((Framing::Length(3), true)));
        for bad in ["content-length: 3\r\ncontent-length: 4\r\n", "content-length: +3\r\n", "x : y\r\n"] {
            assert_eq!(framing(bad), None, "{bad}");
        }
        assert_eq!(framing("content-length: 3\r\ntransfer-encoding: gzip\r\n"), None);
        assert_eq!(framing("content-length: 3\r\ntransfer-encoding: chunked\r\n"), Some((Framing::Chunked, false)));
    }

    #[test]
    fn interim_answers_are_skipped_and_a_block_has_bounds() {
        let text = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(text).unwrap().unwrap().status, 204);
        assert!(read(&text[..50]).unwrap().is_none());
        assert!(read(&format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(1000))).is_err());
        assert!(read("SSH-2.0-OpenSSH\r\n\r\n").is_err() && read("HTTP/1.1 200 OK\n\n").is_err());
    }

    #[test]
    fn what_belongs_to_the_hop_does_not_go_on() {
        let text = "HTTP/1.0 200 Fine\r\nConnection: x-a, keep-alive\r\nX-A: 1\r\nKeep-Alive: 5\r\nX-B: 2\r\n\r\n";
        let reply = read(text).unwrap().unwrap();
        let mut out = Vec::new();
        reply.pass(text.as_bytes(), None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 200 Fine\r\nX-B: 2\r\ntransfer-encoding: chunked\r\n");
        let (mut out, shape) = (Vec::new(), |headers: &mut HeaderMap| {
            headers.append("x-b", HeaderValue::from_static("3"));
            headers.insert("content-length", HeaderValue::from_static("9"));
        });
        reply.pass(text.as_bytes(), Some(&shape), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "HTTP/1.1 200 Fine\r\nX-B: 2\r\nX-B: 3\r\ntransfer-encoding: chunked\r\n");
    }
}
