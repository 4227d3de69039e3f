//! What is written on a trunk: the lane's number (four bytes), a kind, a number of three bytes; big endian.
//!
//! | kind | from | number | then |
//! | --- | --- | --- | --- |
//! | 1 OPEN | client | 0 | nothing: the next lane begins; they are counted from 1 |
//! | 2 DATA | both | length | bytes of the lane's session |
//! | 3 CREDIT | both | bytes | nothing: so many more bytes of DATA are welcome |
//! | 4 CLOSE | both | 0 | nothing: no more of this lane is read or written |

use thiserror::Error;

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// Most that the number of a frame can say.
pub(super) const MOST: usize = (1 << 24) - 1;

/// One frame; DATA comes in the pieces in which it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneFrame<'a> {
    /// A lane begins.
    Open,
    /// Bytes of its session.
    Data(&'a [u8]),
    /// So many more bytes are welcome.
    Credit(usize),
    /// A lane ends.
    Close,
}

/// The peer does not keep to the protocol. The trunk ends, and all its lanes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TrunkError {
    /// A kind that does not exist, or with a number that it does not have.
    #[error("malformed frame on a trunk: kind {0}, number {1}")]
    Malformed(u8, usize),
    /// OPEN out of order, by the server, or too often.
    #[error("lane {0} cannot begin")]
    Unexpected(u32),
    /// More DATA than was welcome, or more credit than there is.
    #[error("lane {0} is over its window")]
    Window(u32),
}

/// Appends a frame.
pub fn encode(lane: u32, frame: LaneFrame<'_>, out: &mut Vec<u8>) {
    let (kind, number, payload): (u8, usize, &[u8]) = match frame {
        LaneFrame::Open => (1, 0, &[]),
        LaneFrame::Data(bytes) => (2, bytes.len(), bytes),
        LaneFrame::Credit(bytes) => (3, bytes, &[]),
        LaneFrame::Close => (4, 0, &[]),
    };
    debug_assert!(number <= MOST, "{number}");
    out.extend(lane.to_be_bytes());
    out.extend([kind, (number >> 16) as u8, (number >> 8) as u8, number as u8]);
    out.extend(payload);
}

/// Takes frames out of the bytes of a trunk, wherever these were cut.
#[derive(Debug, Default)]
pub struct Deframer {
    header: [u8; HEADER],
    filled: usize,
    /// Of the DATA frame that has begun.
    left: usize,
}

impl Deframer {
    /// The next frame at the front of `bytes`, which is advanced; `None` when all of it was taken.
    ///
    /// # Errors
    /// [`TrunkError::Malformed`].
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<(u32, LaneFrame<'a>)>, TrunkError> {
        while self.left == 0 {
            let (head, rest) = bytes.split_at((HEADER - self.filled).min(bytes.len()));
            self.header[self.filled..self.filled + head.len()].copy_from_slice(head);
            self.filled += head.len();
            *bytes = rest;
            if self.filled < HEADER {
                return Ok(None);
            }
            self.filled = 0;
            if let Some(frame) = self.begin()? {
                return Ok(Some((self.lane(), frame)));
            }
        }
        let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        self.left -= piece.len();
        Ok((!piece.is_empty()).then_some((self.lane(), LaneFrame::Data(piece))))
    }

    /// What the header says; nothing for DATA, which follows.
    fn begin(&mut self) -> Result<Option<LaneFrame<'static>>, TrunkError> {
        let [.., kind, high, middle, low] = self.header;
        let number = u32::from_be_bytes([0, high, middle, low]) as usize;
        match (kind, number) {
            (1, 0) => Ok(Some(LaneFrame::Open)),
            (2, length) => {
                self.left = length;
                Ok(None)
            }
            (3, bytes) if bytes > 0 => Ok(Some(LaneFrame::Credit(bytes))),
            (4, 0) => Ok(Some(LaneFrame::Close)),
            _ => Err(TrunkError::Malformed(kind, number)),
        }
    }

    fn lane(&self) -> u32 {
        let [a, b, c, d, ..] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }
}
