//! Both directions' keys of one connection, and their updates (RFC 8446 section 4.6.3).

use super::record::{Content, HEADER, RecordError, RecordKey, TRAILER};
use rustls::ExtractedSecrets;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

/// rustls' key schedule, of either side.
pub enum Schedule {
    /// We dialled.
    Client(Box<KernelConnection<ClientConnectionData>>),
    /// We accepted.
    Server(Box<KernelConnection<ServerConnectionData>>),
}

/// The keys in use and where the next ones come from.
pub struct Keys {
    schedule: Schedule,
    /// Seals what we send.
    pub tx: RecordKey,
    rx: RecordKey,
    /// The peer asked for an update of our key, or ours is worn out.
    update_due: bool,
}

/// Bytes of a sealed KeyUpdate.
pub const KEY_UPDATE_RECORD: usize = HEADER + 5 + TRAILER;

/// What an opened record means to the stream.
pub enum Opened {
    /// Application bytes, this many behind the header.
    Data(usize),
    /// Nothing for the application.
    Control,
    /// The peer will send no more.
    Closed,
}

impl Keys {
    /// Takes over a finished handshake.
    ///
    /// # Errors
    /// [`RecordError::Cipher`] for a cipher that TLS 1.3 does not have.
    pub fn new(secrets: ExtractedSecrets, schedule: Schedule) -> Result<Self, RecordError> {
        Ok(Self { schedule, tx: RecordKey::new(secrets.tx)?, rx: RecordKey::new(secrets.rx)?, update_due: false })
    }

    /// Opens one whole record in place and acts on what is not the application's.
    ///
    /// # Errors
    /// [`RecordError`]; the connection must end.
    pub fn open(&mut self, record: &mut [u8]) -> Result<Opened, RecordError> {
        let (content, len) = self.rx.open(record)?;
        let body = &record[HEADER..HEADER + len];
        match content {
            Content::Data => Ok(Opened::Data(len)),
            Content::Handshake => self.handshake(body).map(|()| Opened::Control),
            Content::Alert => match body {
                [_, 0] => Ok(Opened::Closed),
                [_, code] => Err(RecordError::Alert(*code)),
                _ => Err(RecordError::Malformed),
            },
        }
    }

    /// Whether a KeyUpdate must be sent before more data.
    pub fn must_update(&self) -> bool {
        self.update_due || self.tx.is_worn()
    }

    /// Writes a sealed KeyUpdate and changes to the next sending key.
    ///
    /// # Errors
    /// [`RecordError`] when `room` is less than [`KEY_UPDATE_RECORD`] or the schedule refuses.
    pub fn update(&mut self, room: &mut [u8]) -> Result<usize, RecordError> {
        let message = [24, 0, 0, 1, 0];
        room.get_mut(HEADER..HEADER + message.len()).ok_or(RecordError::KeyUpdate)?.copy_from_slice(&message);
        let written = self.tx.seal(room, message.len(), Content::Handshake)?;
        let secrets = match &mut self.schedule {
            Schedule::Client(connection) => connection.update_tx_secret(),
            Schedule::Server(connection) => connection.update_tx_secret(),
        };
        self.tx = RecordKey::new(secrets.map_err(|_| RecordError::KeyUpdate)?)?;
        self.update_due = false;
        Ok(written)
    }

    /// Tickets are let go (a tunnel is never resumed: each handshake proves both ends anew); updates are followed.
    fn handshake(&mut self, mut messages: &[u8]) -> Result<(), RecordError> {
        while let [kind, a, b, c, rest @ ..] = messages {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let body = rest.get(..len).ok_or(RecordError::Malformed)?;
            match (*kind, body) {
                (4, _) if matches!(self.schedule, Schedule::Client(_)) => {}
                (24, [requested @ 0..=1]) => self.follow_update(*requested == 1)?,
                (kind, _) => return Err(RecordError::Unexpected(kind)),
            }
            messages = &rest[len..];
        }
        if messages.is_empty() { Ok(()) } else { Err(RecordError::Malformed) }
    }

    fn follow_update(&mut self, ours_too: bool) -> Result<(), RecordError> {
        let secrets = match &mut self.schedule {
            Schedule::Client(connection) => connection.update_rx_secret(),
            Schedule::Server(connection) => connection.update_rx_secret(),
        };
        self.rx = RecordKey::new(secrets.map_err(|_| RecordError::KeyUpdate)?)?;
        self.update_due |= ours_too;
        Ok(())
    }
}
