//! What the client's agent tells the server's about a request that it routed, so that both count the same requests and
//! the bytes are parsed once.
//!
//! Fields are a length byte pair and bytes; numbers are eight bytes, big endian. Unknown trailing fields are skipped.

use super::frame::{FrameError, Kind};
use std::borrow::Cow;

/// One request with its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status, for gRPC.
    pub grpc_status: Option<u16>,
    /// `http`, `http2` or `grpc`.
    pub protocol: Cow<'a, str>,
    /// The method.
    pub method: Cow<'a, str>,
    /// The path with its query, cut at 1 KiB.
    pub path: Cow<'a, str>,
    /// `Host` or `:authority`.
    pub authority: Cow<'a, str>,
    /// Envoy's letters for what went wrong, `-` for nothing.
    pub flag: Cow<'a, str>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Microseconds from the request's head to the answer's end.
    pub duration_us: u64,
}

const MAX_TEXT: usize = 1024;

impl<'a> Report<'a> {
    /// Appends the payload of a REPORT frame; at most a few KiB.
    pub fn encode(&self, payload: &mut Vec<u8>) {
        let grpc = self.grpc_status.map_or(u64::MAX, u64::from);
        for number in [u64::from(self.status), grpc, self.request_bytes, self.response_bytes, self.duration_us] {
            payload.extend(number.to_be_bytes());
        }
        for text in [&self.protocol, &self.method, &self.path, &self.authority, &self.flag] {
            let text = &text.as_bytes()[..text.len().min(MAX_TEXT / 2)];
            payload.extend((text.len() as u16).to_be_bytes());
            payload.extend(text);
        }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when a field is missing.
    pub fn decode(payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let mut read = || -> Option<Self> {
            let (status, grpc) = (fields.number()?, fields.number()?);
            Some(Self {
                status: u16::try_from(status).ok()?,
                grpc_status: u16::try_from(grpc).ok(),
                request_bytes: fields.number()?,
                response_bytes: fields.number()?,
                duration_us: fields.number()?,
                protocol: fields.text()?,
                method: fields.text()?,
                path: fields.text()?,
                authority: fields.text()?,
                flag: fields.text()?,
            })
        };
        read().ok_or(FrameError::Malformed(Kind::Report))
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn text(&mut self) -> Option<Cow<'a, str>> {
        let (len, rest) = self.0.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.0 = rest;
        Some(String::from_utf8_lossy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let report = Report {
            status: 200,
            grpc_status: Some(14),
            protocol: "grpc".into(),
            method: "POST".into(),
            path: "/reviews/1".into(),
            authority: "reviews:9080".into(),
            flag: "-".into(),
            request_bytes: 5,
            response_bytes: 1 << 40,
            duration_us: 900,
        };
        let mut payload = Vec::new();
        report.encode(&mut payload);
        assert_eq!(Report::decode(&payload).unwrap(), report);
    }

    #[test]
    fn a_cut_report_is_malformed_not_a_panic() {
        let mut whole = Vec::new();
        Report { path: "/x".into(), ..Report::default() }.encode(&mut whole);
        for len in 0..whole.len() {
            assert!(Report::decode(&whole[..len]).is_err());
        }
    }
}
