//! Where a chunked body ends, in bytes that pass as they are (RFC 9112 section 7.1).

use super::super::sentry::chunk_size;
use memchr::memchr;

/// Follows one body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// The part of a line that came before.
    line: Vec<u8>,
    trailers: usize,
    /// Bytes of content so far.
    pub(super) content: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    After,
    Trailers,
    End,
}

/// The body is not chunked as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unchunked;

/// Bytes of a size with its extensions, or of all trailers.
const LINE: usize = 16 * 1024;

impl Chunks {
    pub(super) fn is_over(&self) -> bool {
        self.at == At::End
    }

    /// Follows these bytes; how many of them belong to the body.
    ///
    /// # Errors
    /// They are not chunked.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Unchunked> {
        let mut done = 0;
        while done < bytes.len() && self.at != At::End {
            let rest = &bytes[done..];
            done += match self.at {
                At::Chunk(left) => {
                    let len = left.min(rest.len() as u64);
                    self.content += len;
                    self.at = if len == left { At::After } else { At::Chunk(left - len) };
                    len as usize
                }
                _ => self.line(rest)?,
            };
        }
        Ok(done)
    }

    fn line(&mut self, bytes: &[u8]) -> Result<usize, Unchunked> {
        let end = memchr(b'\n', bytes);
        let len = end.map_or(bytes.len(), |end| end + 1);
        self.line.extend_from_slice(&bytes[..len]);
        if self.line.len() > LINE {
            return Err(Unchunked);
        }
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.at = self.after(line.strip_suffix(b"\r\n").ok_or(Unchunked)?).ok_or(Unchunked)?;
        }
        Ok(len)
    }

    fn after(&mut self, line: &[u8]) -> Option<At> {
        match self.at {
            At::Size => Some(match chunk_size(line)? {
                0 => At::Trailers,
                size => At::Chunk(size),
            }),
            At::After => line.is_empty().then_some(At::Size),
            _ if line.is_empty() => Some(At::End),
            at => {
                self.trailers += line.len();
                (self.trailers <= LINE).then_some(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_followed_to_its_end_however_it_is_cut() {
        let body = "3;x=y\r\na\nb\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
        for piece in [1, 2, 3, 7, 1000] {
            let (mut chunks, mut done) = (Chunks::default(), 0);
            let text = format!("{body}HTTP/1.1");
            for bytes in text.as_bytes().chunks(piece) {
                done += chunks.follow(bytes).unwrap();
            }
            assert_eq!((done, chunks.is_over(), chunks.content), (body.len(), true, 13), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_chunked_is_an_error() {
        for bad in ["zz\r\n", "2\r\nabc\r\n", "2\nab\r\n", "\r\n", "0\r\nx: y\n\r\n"] {
            assert_eq!(Chunks::default().follow(bad.as_bytes()), Err(Unchunked), "{bad:?}");
        }
    }
}
