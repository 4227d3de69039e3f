//! Refuses HTTP/1 requests that two readers could frame in two ways.
//!
//! hyper takes some of what RFC 9112 allows a recipient to take (both framing fields, a bare LF as the end of a line)
//! and writes it anew, so that nothing passes here; but a client that sends such things attacks somebody. What the
//! client sends is looked at before hyper reads it: where a line is not as it should be, hyper reads a NUL instead of
//! it, which it answers with 400 and the end of the connection.

use super::tapped::Ear;
use super::watch::Watch;
use memchr::memchr;
use std::sync::Arc;

/// Follows the client's messages.
pub(super) struct Sentry {
    watch: Arc<Watch>,
    at: At,
    /// The part of a line that came before.
    line: Vec<u8>,
    head: Head,
    /// What hyper has still to read of [`REFUSAL`].
    refusal: &'static [u8],
}

/// No line of HTTP has a NUL, and hyper looks at a header block again when an empty line has come.
const REFUSAL: &[u8] = b"\0\n\n";

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    /// So many bytes of a body.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk, with its line end.
    Chunk(u64),
    Trailers,
    /// Another protocol, if the application agrees.
    Asked,
    /// Nothing that is looked at.
    Opaque,
    /// Nothing: the client was refused.
    Refused,
}

/// What a header block has said so far.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    leaves: bool,
}

impl Sentry {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self { watch, at: At::Head, line: Vec::new(), head: Head::default(), refusal: REFUSAL }
    }

    /// Takes the next line in, without its LF. None if it is not as it should be.
    fn line(&mut self, line: &[u8]) -> Option<At> {
        let line = line.strip_suffix(b"\r")?;
        match self.at {
            At::Head if line.is_empty() && !self.head.begun => Some(At::Head),
            At::Head if line.is_empty() => Some(std::mem::take(&mut self.head).body()),
            At::Head => self.head.line(line).then_some(At::Head),
            At::ChunkSize => match chunk_size(line)? {
                0 => Some(At::Trailers),
                size => Some(At::Chunk(size.checked_add(2)?)),
            },
            At::Trailers if line.is_empty() => Some(At::Head),
            at => Some(at),
        }
    }

    /// Looks at bytes that are no part of a body; how many it was done with, none if they are to be refused.
    fn lines(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            return Some(bytes.len());
        };
        self.at = if self.line.is_empty() {
            self.line(&bytes[..end])?
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            self.line(&line)?
        };
        Some(end + 1)
    }
}

impl Ear for Sentry {
    fn heard(&mut self, bytes: &[u8]) -> usize {
        self.watch.hears();
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            done += match self.at {
                At::Opaque | At::Refused => return bytes.len(),
                // While the request is under way its answer decides what these are.
                At::Asked => {
                    self.at = if self.watch.is_active() { At::Opaque } else { At::Head };
                    0
                }
                At::Body(left) => {
                    let len = left.min(rest.len() as u64);
                    self.at = if len == left { At::Head } else { At::Body(left - len) };
                    len as usize
                }
                At::Chunk(left) => {
                    let len = left.min(rest.len() as u64);
                    self.at = if len == left { At::ChunkSize } else { At::Chunk(left - len) };
                    len as usize
                }
                At::Head | At::ChunkSize | At::Trailers => match self.lines(rest) {
                    Some(len) => len,
                    None => {
                        self.at = At::Refused;
                        return done;
                    }
                },
            };
        }
        done
    }

    fn last_words(&mut self, room: usize) -> Option<&'static [u8]> {
        if self.at != At::Refused {
            return None;
        }
        let (now, later) = self.refusal.split_at(self.refusal.len().min(room));
        self.refusal = later;
        Some(now)
    }

    fn leave(&mut self) {
        self.at = At::Opaque;
    }
}

impl Head {
    /// Takes a line in; false if it is not as it should be. What hyper refuses by itself is left to it.
    fn line(&mut self, line: &[u8]) -> bool {
        if !self.begun {
            self.begun = true;
            self.leaves = line.starts_with(b"CONNECT ");
            return true;
        }
        let known = matches!(line.first(), Some(b'c' | b'C' | b't' | b'T' | b'u' | b'U'));
        let Some(colon) = memchr(b':', line).filter(|_| known) else { return true };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            return !self.chunked && self.length.is_some();
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let once = !self.chunked && self.length.is_none();
            self.chunked = true;
            return once && value.eq_ignore_ascii_case(b"chunked");
        }
        self.leaves |= name.eq_ignore_ascii_case(b"upgrade");
        true
    }

    fn body(self) -> At {
        match self.length {
            _ if self.leaves => At::Asked,
            _ if self.chunked => At::ChunkSize,
            Some(length) if length > 0 => At::Body(length),
            _ => At::Head,
        }
    }
}

/// The size of a chunk, extensions left aside; none if there is none (RFC 9112 section 7.1).
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    let ended = rest.is_empty() || rest.starts_with(b";");
    let size = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(size, 16).ok().filter(|_| ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper gets of these bytes, read in pieces of a size.
    fn passed(bytes: &str, piece: usize) -> String {
        let mut sentry = Sentry::new(Arc::new(Watch::new()));
        let mut passed = Vec::new();
        for piece in bytes.as_bytes().chunks(piece) {
            if sentry.last_words(0).is_none() {
                passed.extend(&piece[..sentry.heard(piece)]);
            }
        }
        passed.extend(sentry.last_words(usize::MAX).unwrap_or_default());
        String::from_utf8(passed).unwrap()
    }

    #[test]
    fn what_is_well_formed_passes_unchanged_however_it_is_cut() {
        let text = "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 13\r\n\r\na\nb\r\n\r\n\n\n\n\n\
                    \n\nPOST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\n\n\n\n\r\nA \r\n0123456789\r\n0\r\n\
                    x: y\r\n\r\nGET / HTTP/1.1\r\ncookie: \r\n\r\n";
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(passed(text, piece), text, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_could_be_framed_in_two_ways_never_passes() {
        for bad in [
            "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "transfer-encoding: gzip, chunked\r\n\r\n",
            "content-length: 3, 3\r\n\r\n",
            "x: y\nz: w\r\n\r\n",
            "x: y\r\n\n",
        ] {
            for before in ["", "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab"] {
                let text = format!("{before}POST / HTTP/1.1\r\nhost: a\r\n{bad}");
                for piece in [1, 5, 1000] {
                    let passed = passed(&text, piece);
                    assert!(passed.starts_with(before) && passed.ends_with("\0\n\n"), "{passed:?}");
                }
            }
        }
    }

    #[test]
    fn sizes_of_chunks_are_hexadecimal_numbers() {
        for (line, size) in
            [("0", Some(0)), ("1f;ext", Some(31)), ("A ", Some(10)), ("ffffffffffffffff", Some(u64::MAX))]
        {
            assert_eq!(chunk_size(line.as_bytes()), size, "{line}");
        }
        for line in ["", "-1", "+1", "0x10", "g", "1 2", "10000000000000000", ";"] {
            assert_eq!(chunk_size(line.as_bytes()), None, "{line}");
        }
    }
}
