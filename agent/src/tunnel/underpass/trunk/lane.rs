//! One lane of a trunk, with the methods of a TLS stream that a session needs.

use super::super::super::tls::{MAX_PLAINTEXT, TlsInfo};
use super::WINDOW;
use super::frame::{HEADER, LaneFrame};
use super::shared::{State, Trunk};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Bytes that wait in a lane; beyond it the sender waits.
const TX_HIGH: usize = 4 * MAX_PLAINTEXT;
/// Bytes of all lanes that wait for the trunk's task.
const ROOM: usize = 256 * 1024;
/// Where so little comes, the buffers of a download are not kept.
const SMALL: usize = 4 * 1024;
/// Most of one lane before the next one's turn.
const TURN: usize = 32 * 1024;

/// One lane; its end is told to the peer when it is dropped.
pub struct Lane {
    trunk: Arc<Trunk>,
    number: u32,
    rx: Vec<u8>,
    lent: bool,
    tx: Vec<u8>,
    queued: usize,
    sent: usize,
    closed: bool,
}

impl Lane {
    pub(super) fn new(trunk: Arc<Trunk>, number: u32) -> Self {
        Self { trunk, number, rx: Vec::new(), lent: true, tx: Vec::new(), queued: 0, sent: 0, closed: false }
    }

    /// What the trunk's handshake agreed on.
    pub fn info(&self) -> &TlsInfo {
        self.trunk.info()
    }

    pub(in super::super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The bytes received last, once; the range is in [`Self::received`].
    pub(in super::super) fn next_record(&mut self) -> Option<Range<usize>> {
        if std::mem::replace(&mut self.lent, true) { None } else { Some(0..self.rx.len()) }
    }

    pub(in super::super) fn received(&self) -> &[u8] {
        &self.rx
    }

    /// Takes what has come. 0 is the end.
    pub(in super::super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.trunk.lock();
        let dead = state.dead();
        let Some(slot) = state.slot(self.number) else { return Poll::Ready(Ok(0)) };
        if slot.inbox.is_empty() {
            if slot.closed {
                self.closed = true;
                return Poll::Ready(Ok(0));
            }
            if let Some(why) = dead {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, &*why)));
            }
            keep(&mut slot.receiver, cx);
            return Poll::Pending;
        }
        self.rx.clear();
        std::mem::swap(&mut self.rx, &mut slot.inbox);
        self.lent = false;
        if self.rx.len() < SMALL && slot.inbox.capacity() > MAX_PLAINTEXT {
            slot.inbox = Vec::new();
        }
        slot.owed += self.rx.len();
        let driver = if slot.owed >= WINDOW / 2 && !slot.closed {
            let owed = std::mem::take(&mut slot.owed);
            state.stage(self.number, LaneFrame::Credit(owed))
        } else {
            None
        };
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(self.rx.len()))
    }

    pub(in super::super) fn is_backed_up(&self) -> bool {
        self.queued - self.sent >= TX_HIGH
    }

    pub(in super::super) fn has_unsent(&self) -> bool {
        self.sent < self.queued
    }

    /// Room for one record's plaintext, to be queued by [`Self::seal`].
    pub(in super::super) fn vacant(&mut self) -> &mut [u8] {
        if self.sent == self.queued {
            (self.sent, self.queued) = (0, 0);
        }
        if self.sent >= MAX_PLAINTEXT {
            self.tx.copy_within(self.sent..self.queued, 0);
            (self.queued, self.sent) = (self.queued - self.sent, 0);
        }
        let end = self.queued + MAX_PLAINTEXT;
        if self.tx.len() < end {
            self.tx.resize(end, 0);
        }
        &mut self.tx[self.queued..end]
    }

    pub(in super::super) fn seal(&mut self, len: usize) {
        self.queued += len;
    }

    /// Hands what is queued to the trunk, as far as it and the peer have room.
    pub(in super::super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sent == self.queued {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.trunk.lock();
        let mut driver = None;
        let mut turn = TURN;
        let outcome = loop {
            let unsent = &self.tx[self.sent..self.queued];
            if unsent.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match admit(&mut state, self.number, unsent.len(), (&mut turn, cx)) {
                Poll::Ready(Ok(len)) => {
                    driver = driver.or(state.stage(self.number, LaneFrame::Data(&unsent[..len])));
                    self.sent += len;
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        outcome
    }
}

/// How many of `wanted` bytes may be staged now.
fn admit(
    state: &mut State,
    lane: u32,
    wanted: usize,
    (turn, cx): (&mut usize, &mut Context<'_>),
) -> Poll<io::Result<usize>> {
    if let Some(why) = state.dead() {
        return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, &*why)));
    }
    let room = ROOM.saturating_sub(state.staged.len() + HEADER).min(*turn);
    let Some(slot) = state.slot(lane).filter(|slot| !slot.closed) else {
        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
    };
    if slot.credit == 0 {
        keep(&mut slot.sender, cx);
        return Poll::Pending;
    }
    let len = wanted.min(slot.credit).min(room);
    if len == 0 {
        state.waiting.push(cx.waker().clone());
        return Poll::Pending;
    }
    slot.credit -= len;
    *turn -= len;
    Poll::Ready(Ok(len))
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let driver = self.trunk.lock().end(self.number);
        driver.into_iter().for_each(Waker::wake);
    }
}
