//! The TLS 1.3 record layer (RFC 8446 section 5), in place: no I/O, no allocation.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use thiserror::Error;

/// Most plaintext bytes in one record (RFC 8446 section 5.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// Bytes of a record's header.
pub const HEADER: usize = 5;
/// Bytes that sealing adds behind the plaintext: the inner content type and the tag.
pub const TRAILER: usize = 1 + TAG;
/// Most bytes that a record may have on the wire (RFC 8446 section 5.2).
pub const MAX_RECORD: usize = HEADER + MAX_PLAINTEXT + 256;

const TAG: usize = 16;

/// RFC 8446 section 5.5: 2^24.5 full records under one AES-GCM key; the key is updated well before.
const RECORDS_PER_KEY: u64 = 1 << 23;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A handshake message after the handshake: a ticket or a key update.
    Handshake,
    /// An alert.
    Alert,
    /// The application's bytes.
    Data,
}

impl Content {
    fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }
}

/// Why a record was not taken. The connection ends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Not a TLS record, or one longer than the limit.
    #[error("malformed TLS record")]
    Malformed,
    /// The tag does not fit: altered on the way, or under another key.
    #[error("TLS record failed authentication")]
    BadTag,
    /// The negotiated cipher is not one of TLS 1.3's.
    #[error("cipher suite is not supported by the record layer")]
    Cipher,
    /// The peer sent an alert.
    #[error("peer sent TLS alert {0}")]
    Alert(u8),
    /// A message that has no place after the handshake.
    #[error("unexpected TLS handshake message {0} after the handshake")]
    Unexpected(u8),
    /// Keys could not be updated.
    #[error("TLS key update failed")]
    KeyUpdate,
}

/// One direction's key with its sequence number.
pub struct RecordKey {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl RecordKey {
    /// Takes over what rustls derived.
    ///
    /// # Errors
    /// [`RecordError::Cipher`] for a cipher that TLS 1.3 does not have.
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(RecordError::Cipher),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Cipher)?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Cipher)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// Whether it has sealed so much that it must be replaced.
    pub fn is_worn(&self) -> bool {
        self.sequence >= RECORDS_PER_KEY
    }

    /// Seals `record[HEADER..HEADER + len]` where it stands and returns the bytes of the whole record.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when there is no room for header and trailer, or `len` is over the limit.
    pub fn seal(&mut self, record: &mut [u8], len: usize, content: Content) -> Result<usize, RecordError> {
        let end = HEADER + len + TRAILER;
        if len > MAX_PLAINTEXT || record.len() < end {
            return Err(RecordError::Malformed);
        }
        let header = [23, 3, 3, ((len + TRAILER) >> 8) as u8, (len + TRAILER) as u8];
        record[..HEADER].copy_from_slice(&header);
        record[HEADER + len] = content.code();
        let nonce = self.next_nonce();
        let inner = &mut record[HEADER..HEADER + len + 1];
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), inner).map_err(|_| RecordError::Malformed)?;
        record[end - TAG..end].copy_from_slice(tag.as_ref());
        Ok(end)
    }

    /// Opens a whole record where it stands; what it carried is at `record[HEADER..HEADER + len]`.
    ///
    /// # Errors
    /// [`RecordError`] when it is not a record of this connection; the connection must end.
    pub fn open(&mut self, record: &mut [u8]) -> Result<(Content, usize), RecordError> {
        let (header, sealed) = record.split_at_mut(HEADER);
        let header: [u8; HEADER] = header.try_into().map_err(|_| RecordError::Malformed)?;
        if header[0] != 23 {
            return Err(RecordError::Malformed);
        }
        let nonce = self.next_nonce();
        let inner = self.key.open_in_place(nonce, Aad::from(header), sealed).map_err(|_| RecordError::BadTag)?;
        // RFC 8446 section 5.4: zeros may pad the inner plaintext; the last byte that is none is the type.
        let end = inner.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Malformed)?;
        let content = match inner[end] {
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::Data,
            _ => return Err(RecordError::Malformed),
        };
        Ok((content, end))
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The length of the record that starts `bytes`, `None` while its header is incomplete.
///
/// # Errors
/// [`RecordError::Malformed`] for what cannot be a record after the handshake.
pub fn record_len(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let [kind, major, _, high, low, ..] = bytes else {
        return Ok(None);
    };
    let len = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
    if !(20..=23).contains(kind) || *major != 3 || len > MAX_RECORD {
        return Err(RecordError::Malformed);
    }
    Ok(Some(len))
}
