//! What the client's agent tells the server's about a request that it routed, so that both count the same requests and
//! the bytes are parsed once.
//!
//! Fields are a length byte pair and bytes; numbers are eight bytes, big endian. Unknown trailing fields are skipped.

use super::frame::{FrameError, Kind};

/// One request with its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status, for gRPC.
    pub grpc_status: Option<u16>,
    /// `http`, `http2` or `grpc`.
    pub protocol: String,
    /// The method.
    pub method: String,
    /// The path with its query, cut at 1 KiB.
    pub path: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// Envoy's letters for what went wrong, `-` for nothing.
    pub flag: String,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Microseconds from the request's head to the answer's end.
    pub duration_us: u64,
}

const MAX_TEXT: usize = 1024;

impl Report {
    /// The payload of a REPORT frame; at most a few KiB.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(160);
        let grpc = self.grpc_status.map_or(u64::MAX, u64::from);
        for number in [u64::from(self.status), grpc, self.request_bytes, self.response_bytes, self.duration_us] {
            payload.extend(number.to_be_bytes());
        }
        for text in [&self.protocol, &self.method, &self.path, &self.authority, &self.flag] {
            let text = &text.as_bytes()[..text.len().min(MAX_TEXT / 2)];
            payload.extend((text.len() as u16).to_be_bytes());
            payload.extend(text);
        }
        payload
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when a field is missing.
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
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

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn text(&mut self) -> Option<String> {
        let (len, rest) = self.0.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.0 = rest;
        Some(String::from_utf8_lossy(text).into_owned())
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
            protocol: "grpc".to_owned(),
            method: "POST".to_owned(),
            path: "/reviews/1".to_owned(),
            authority: "reviews:9080".to_owned(),
            flag: "-".to_owned(),
            request_bytes: 5,
            response_bytes: 1 << 40,
            duration_us: 900,
        };
        assert_eq!(Report::decode(&report.encode()).unwrap(), report);
    }

    #[test]
    fn a_cut_report_is_malformed_not_a_panic() {
        let whole = Report { path: "/x".to_owned(), ..Report::default() }.encode();
        for len in 0..whole.len() {
            assert!(Report::decode(&whole[..len]).is_err());
        }
    }
}
