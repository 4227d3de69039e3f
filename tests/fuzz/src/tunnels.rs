//! What another agent, or who poses as one, sends: frames of `underpass/1`, TLS records, HBONE's headers.

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};
use underpass::tunnel::hbone::{Baggage, Connect};
use underpass::tunnel::tls::{Content, MAX_PLAINTEXT, RECORD_HEADER, RECORD_TRAILER, RecordKey, record_len};
use underpass::tunnel::underpass::{
    Deframer, LaneFrame, MAX_DATA, Open, Report, decode_header, encode_header, encode_lane,
};

/// A frame after the other.
pub fn frames(mut bytes: &[u8]) {
    while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
        let Ok((kind, len)) = decode_header(*header) else { return };
        assert_eq!(encode_header(kind, len), *header);
        assert!(len <= MAX_DATA.max(0xff_ffff));
        let Some((payload, rest)) = rest.split_at_checked(len) else { return };
        if let Ok(open) = Open::decode(payload) {
            assert_eq!(Open::decode(&open.encode()), Ok(open));
        }
        if let Ok(report) = Report::decode(payload) {
            let mut again = Vec::new();
            report.encode(&mut again);
            assert!(again.len() <= 4096, "a report that no agent would take");
            assert!(Report::decode(&again).is_ok());
        }
        bytes = rest;
    }
}

/// What comes on a trunk: the same frames wherever it is cut, and again when they are written.
pub fn lanes(bytes: &[u8]) {
    let Some((at, bytes)) = bytes.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(*at).min(bytes.len()));
    let seen = lane_frames(&[bytes]);
    assert_eq!(lane_frames(&[first, second]), seen);
    let mut again = Vec::new();
    for (lane, frame, data) in &seen {
        encode_lane(*lane, frame.unwrap_or(LaneFrame::Data(data)), &mut again);
    }
    assert_eq!(lane_frames(&[&again]), seen);
}

/// A lane, and its frame or the bytes of its DATA.
type Seen = (u32, Option<LaneFrame<'static>>, Vec<u8>);

/// The frames, up to the first that is none; DATA that came in pieces is put together.
fn lane_frames(parts: &[&[u8]]) -> Vec<Seen> {
    let (mut deframer, mut seen) = (Deframer::default(), Vec::<Seen>::new());
    for part in parts {
        let mut part = *part;
        loop {
            let (lane, frame) = match deframer.next(&mut part) {
                Ok(Some((lane, LaneFrame::Data(piece)))) => {
                    match seen.last_mut() {
                        Some((last, None, data)) if *last == lane => data.extend_from_slice(piece),
                        _ => seen.push((lane, None, piece.to_vec())),
                    }
                    continue;
                }
                Ok(Some((lane, LaneFrame::Open))) => (lane, LaneFrame::Open),
                Ok(Some((lane, LaneFrame::Credit(bytes)))) => (lane, LaneFrame::Credit(bytes)),
                Ok(Some((lane, LaneFrame::Close))) => (lane, LaneFrame::Close),
                Ok(None) => break,
                Err(_) => return seen,
            };
            seen.push((lane, Some(frame), Vec::new()));
        }
    }
    seen
}

/// Bytes as they come, and the same bytes as what a peer sealed.
pub fn records(bytes: &[u8]) {
    let key = || {
        let secrets = ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([7; 32]), iv: Iv::from([9; 12]) };
        RecordKey::new((0, secrets)).expect("a key of TLS 1.3")
    };
    if let Ok(Some(len)) = record_len(bytes)
        && let Some(record) = bytes.get(..len)
    {
        assert!(key().open(&mut record.to_vec()).is_err(), "nobody sealed this");
    }
    let plain = &bytes[..bytes.len().min(MAX_PLAINTEXT)];
    let mut record = vec![0; RECORD_HEADER + plain.len() + RECORD_TRAILER];
    record[RECORD_HEADER..RECORD_HEADER + plain.len()].copy_from_slice(plain);
    let len = key().seal(&mut record, plain.len(), Content::Data).expect("there is room");
    assert_eq!(record_len(&record), Ok(Some(len)));
    assert_eq!(key().open(&mut record[..len]), Ok((Content::Data, plain.len())));
    assert_eq!(&record[RECORD_HEADER..RECORD_HEADER + plain.len()], plain);
    // A bit turned over anywhere is noticed.
    let at = RECORD_HEADER + plain.first().map_or(0, |byte| usize::from(*byte)) % (len - RECORD_HEADER);
    record[at] ^= 1;
    assert!(key().open(&mut record[..len]).is_err());
}

/// The first line is the authority of a CONNECT, each other one a header.
pub fn hbone(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else { return };
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = uri;
    for line in lines.take(32) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(line[at + 1..].trim_ascii()))
        {
            request.headers_mut().append(name, value);
        }
    }
    let baggage = Baggage::decode(request.headers().get_all("baggage"));
    assert_eq!(Baggage::decode(&baggage.encode()), baggage);
    if let Ok(connect) = Connect::decode(&request) {
        let again = connect.encode().expect("what was read can be written");
        assert_eq!(Connect::decode(&again).as_ref(), Ok(&connect));
    }
}
