//! A capture file (pcap, Ethernet), as far as the demo and the tests ask: TCP ports, payloads, TLS hellos.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

/// The TCP segments of a capture.
pub struct Packets {
    segments: Vec<Segment>,
    /// Payload of each direction of each connection, in the order it was seen.
    streams: BTreeMap<Vec<u8>, Vec<u8>>,
}

struct Segment {
    destination_port: u16,
    opens: bool,
}

impl Packets {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// It is no little-endian pcap file.
    pub fn read(file: &[u8]) -> Result<Self> {
        // pcap-savefile(5): magic, then a header of 24 bytes; 16 bytes before each packet, the length at 8.
        ensure!(file.len() >= 24 && file[..4] == [0xd4, 0xc3, 0xb2, 0xa1], "no pcap file");
        let mut packets = Self { segments: Vec::new(), streams: BTreeMap::new() };
        let mut rest = &file[24..];
        while let Some(length) = rest.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize) {
            let Some(frame) = rest.get(16..16 + length) else {
                break;
            };
            packets.add(frame);
            rest = &rest[16 + length..];
        }
        Ok(packets)
    }

    /// Number of TCP segments.
    pub fn total(&self) -> usize {
        self.segments.len()
    }

    /// How often these bytes are in the payloads.
    pub fn count(&self, needle: &[u8]) -> usize {
        self.streams.values().map(|stream| stream.windows(needle.len()).filter(|w| *w == needle).count()).sum()
    }

    /// The ports that connections were opened to.
    pub fn connected_ports(&self) -> BTreeSet<u16> {
        self.segments.iter().filter(|segment| segment.opens).map(|segment| segment.destination_port).collect()
    }

    /// Streams that begin with a ClientHello that offers TLS 1.3.
    pub fn client_hellos(&self) -> usize {
        // RFC 8446 4.2.1: extension 43, then a list of versions.
        self.hellos(1, |hello| {
            let lists =
                hello.windows(5).enumerate().filter(|(_, w)| w[..2] == [0, 43] && w[2] == 0 && w[3] == w[4] + 1);
            lists.into_iter().any(|(at, w)| {
                let list = hello.get(at + 5..at + 5 + usize::from(w[4])).unwrap_or_default();
                list.chunks(2).any(|version| version == [3, 4])
            })
        })
    }

    /// Streams that begin with a ServerHello that chooses TLS 1.3.
    pub fn server_hellos(&self) -> usize {
        self.hellos(2, |hello| hello.windows(6).any(|w| w == [0, 43, 0, 2, 3, 4]))
    }

    // RFC 8446 5.1: a record is type 22 (handshake), version, length; then the message's type.
    fn hellos(&self, kind: u8, chooses: impl Fn(&[u8]) -> bool) -> usize {
        let begins = |stream: &&Vec<u8>| stream.first() == Some(&22) && stream.get(5) == Some(&kind);
        let hello = |stream: &Vec<u8>| {
            let length = usize::from(u16::from_be_bytes([stream[3], stream[4]]));
            stream[5..stream.len().min(5 + length)].to_vec()
        };
        self.streams.values().filter(begins).filter(|stream| chooses(&hello(stream))).count()
    }

    fn add(&mut self, frame: &[u8]) {
        let Some((ends, segment)) = tcp(frame) else { return };
        let (Some(ports), Some(flags)) = (segment.get(..4), segment.get(13)) else {
            return;
        };
        // Of flags SYN (2) and ACK (16) only SYN: a connection is opened.
        let opens = flags & 0x12 == 2;
        self.segments.push(Segment { destination_port: u16::from_be_bytes([ports[2], ports[3]]), opens });
        let key = [ends, ports].concat();
        let payload = segment.get(usize::from(segment[12] >> 4) * 4..).unwrap_or_default();
        self.streams.entry(key).or_default().extend_from_slice(payload);
    }
}

/// Both addresses and the TCP segment of an Ethernet frame.
fn tcp(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            // Without this, an Ethernet frame's padding would count as payload.
            let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let end = if total == 0 { packet.len() } else { total.min(packet.len()) };
            (*packet.get(9)? == 6).then_some((packet.get(12..20)?, packet.get(header..end)?))
        }
        [0x86, 0xdd] => (*packet.get(6)? == 6).then_some((packet.get(8..40)?, packet.get(40..)?)),
        _ => None,
    }
}
