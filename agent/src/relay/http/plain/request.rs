//! A request as the application is to have it.

use super::head::{ATTEMPT, FIELDS, Head};
use super::reply::{line, of_hop, shaped};
use bytes::Bytes;
use http::uri::PathAndQuery;
use std::mem::MaybeUninit;

/// A request that can be sent as often as it takes.
pub(super) struct Outgoing {
    /// The header block, without what each attempt adds.
    head: Vec<u8>,
    body: Bytes,
    /// Sending it twice is no other than sending it once.
    pub(super) idempotent: bool,
    /// Each attempt says which one it is.
    counted: bool,
}

impl Outgoing {
    /// The request with the head as its rule has shaped it; `edited` tells whether it has.
    pub(super) fn new(head: &Head, edited: bool, body: Bytes, counted: bool) -> Self {
        let mut out = Vec::with_capacity(head.block.len() + 64);
        let parts = &head.parts;
        out.extend_from_slice(parts.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        fields(head, edited, &mut out);
        let idempotent = parts.method.is_idempotent() && body.is_empty();
        Self { head: out, body, idempotent, counted }
    }

    /// The bytes of an attempt.
    pub(super) fn write(&self, attempt: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.head);
        if self.counted {
            line(ATTEMPT.as_str(), attempt.to_string().as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
    }

    pub(super) fn body_len(&self) -> usize {
        self.body.len()
    }
}

fn fields(head: &Head, edited: bool, out: &mut Vec<u8>) {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    // It was read before, so it can be read again.
    let _ = request.parse_with_uninit_headers(&head.block, &mut fields);
    let kept = request.headers.iter().filter(|field| !of_hop(field.name));
    if !edited {
        return kept.for_each(|field| line(field.name, field.value, out));
    }
    let shape = |headers: &mut http::HeaderMap| {
        headers.clone_from(&head.parts.headers);
        ["connection", "keep-alive", "proxy-connection", "upgrade"].into_iter().for_each(|name| {
            headers.remove(name);
        });
    };
    shaped(kept.copied(), &shape, out);
}
