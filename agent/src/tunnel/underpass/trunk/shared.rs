//! What the lanes of a trunk and the task that drives it share.

use super::super::super::tls::TlsInfo;
use super::frame::{LaneFrame, TrunkError, encode};
use super::lane::Lane;
use super::{MOST_LANES, MOST_TAKEN, WINDOW};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// One TLS connection with its lanes.
pub struct Trunk {
    info: TlsInfo,
    born: Instant,
    /// Lanes begin at this end.
    is_client: bool,
    state: Mutex<State>,
}

/// Nobody waits for the network while holding it.
#[derive(Default)]
pub(super) struct State {
    lanes: HashMap<u32, Slot>,
    /// The number of the last lane that began.
    last: u32,
    /// Frames to be sent.
    pub(super) staged: Vec<u8>,
    /// The driver knows that something is staged.
    told: bool,
    pub(super) driver: Option<Waker>,
    /// Lanes that found no room.
    pub(super) waiting: Vec<Waker>,
    /// No further lanes; it ends with the last one.
    pub(super) retiring: bool,
    idle_since: Option<Instant>,
    /// Why there will be nothing more.
    dead: Option<Arc<str>>,
}

/// This end of one lane.
pub(super) struct Slot {
    pub(super) inbox: Vec<u8>,
    pub(super) receiver: Option<Waker>,
    pub(super) sender: Option<Waker>,
    /// Bytes that may be sent.
    pub(super) credit: usize,
    /// Bytes that were taken and that the peer may send again.
    pub(super) owed: usize,
    /// The peer has closed it.
    pub(super) closed: bool,
}

impl Slot {
    fn new() -> Self {
        Self { inbox: Vec::new(), receiver: None, sender: None, credit: WINDOW, owed: 0, closed: false }
    }
}

/// What comes of a record: tasks to wake and lanes to serve, once nothing is locked.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) wake: Vec<Waker>,
    pub(super) lanes: Vec<u32>,
}

impl Trunk {
    pub(super) fn new(info: TlsInfo, is_client: bool) -> Arc<Self> {
        let state = Mutex::new(State { idle_since: Some(Instant::now()), ..State::default() });
        Arc::new(Self { info, born: Instant::now(), is_client, state })
    }

    /// What the handshake agreed on.
    pub fn info(&self) -> &TlsInfo {
        &self.info
    }

    pub(super) fn born(&self) -> Instant {
        self.born
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins a lane; none on a trunk that is full, or ends.
    pub fn lane(self: &Arc<Self>) -> Option<Lane> {
        let mut state = self.lock();
        let last = state.last.checked_add(1)?;
        if state.dead.is_some() || state.retiring || state.lanes.len() >= MOST_LANES {
            return None;
        }
        state.begin(last);
        let driver = state.stage(last, LaneFrame::Open);
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        Some(Lane::new(Arc::clone(self), last))
    }

    /// Takes no further lanes, and ends with the last one.
    pub fn retire(&self) {
        let driver = {
            let mut state = self.lock();
            state.retiring = true;
            state.driver.take()
        };
        driver.into_iter().for_each(Waker::wake);
    }

    /// Whether it can have no further lane, ever.
    pub(super) fn is_spent(&self) -> bool {
        let state = self.lock();
        state.dead.is_some() || state.retiring
    }

    /// Since when it has no lane.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.lock().idle_since
    }

    /// Ends every lane.
    pub(super) fn die(&self, why: &str) {
        let mut state = self.lock();
        state.dead = Some(why.into());
        state.retiring = true;
        let mut wake = std::mem::take(&mut state.waiting);
        wake.extend(state.lanes.values_mut().flat_map(|slot| [slot.receiver.take(), slot.sender.take()]).flatten());
        drop(state);
        wake.into_iter().for_each(Waker::wake);
    }

    /// A frame of the peer's.
    pub(super) fn arrive(
        &self,
        state: &mut State,
        (lane, frame): (u32, LaneFrame<'_>),
        arrivals: &mut Arrivals,
    ) -> Result<(), TrunkError> {
        if frame == LaneFrame::Open {
            let expected = !self.is_client && Some(lane) == state.last.checked_add(1);
            if !expected || state.lanes.len() >= MOST_TAKEN {
                return Err(TrunkError::Unexpected(lane));
            }
            state.begin(lane);
            arrivals.lanes.push(lane);
            return Ok(());
        }
        // Of a lane that has ended here the peer may not have heard yet.
        let Some(slot) = state.lanes.get_mut(&lane) else {
            return if (1..=state.last).contains(&lane) { Ok(()) } else { Err(TrunkError::Unexpected(lane)) };
        };
        match frame {
            LaneFrame::Data(bytes) => {
                if slot.inbox.len() + slot.owed + bytes.len() > WINDOW {
                    return Err(TrunkError::Window(lane));
                }
                slot.inbox.extend_from_slice(bytes);
                arrivals.wake.extend(slot.receiver.take());
            }
            LaneFrame::Credit(bytes) => {
                slot.credit += bytes;
                if slot.credit > WINDOW {
                    return Err(TrunkError::Window(lane));
                }
                arrivals.wake.extend(slot.sender.take());
            }
            _ => {
                slot.closed = true;
                arrivals.wake.extend([slot.receiver.take(), slot.sender.take()].into_iter().flatten());
            }
        }
        Ok(())
    }
}

impl State {
    fn begin(&mut self, lane: u32) {
        self.last = lane;
        self.idle_since = None;
        self.lanes.insert(lane, Slot::new());
    }

    pub(super) fn slot(&mut self, lane: u32) -> Option<&mut Slot> {
        self.lanes.get_mut(&lane)
    }

    pub(super) fn is_over(&self) -> bool {
        self.retiring && self.lanes.is_empty() && self.staged.is_empty()
    }

    pub(super) fn dead(&self) -> Option<Arc<str>> {
        self.dead.clone()
    }

    /// Adds a frame; who must be woken to send it.
    pub(super) fn stage(&mut self, lane: u32, frame: LaneFrame<'_>) -> Option<Waker> {
        encode(lane, frame, &mut self.staged);
        if std::mem::replace(&mut self.told, true) { None } else { self.driver.take() }
    }

    /// What is to be sent, against an empty buffer.
    pub(super) fn take_staged(&mut self, empty: &mut Vec<u8>) -> Vec<Waker> {
        std::mem::swap(&mut self.staged, empty);
        self.told = false;
        std::mem::take(&mut self.waiting)
    }

    /// Ends a lane at this end.
    pub(super) fn end(&mut self, lane: u32) -> Option<Waker> {
        let slot = self.lanes.remove(&lane)?;
        if self.lanes.is_empty() {
            self.idle_since = Some(Instant::now());
        }
        if self.dead.is_some() {
            return None;
        }
        if !slot.closed {
            let driver = self.stage(lane, LaneFrame::Close);
            return driver;
        }
        if self.is_over() { self.driver.take() } else { None }
    }
}
