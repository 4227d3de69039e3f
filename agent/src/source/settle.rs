//! When a burst of file events is over. No clock of its own: times are arguments.

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Quiet for this long, and a burst is over.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is read at least this often.
const LONGEST: Duration = Duration::from_millis(100);
/// A file that is being written is waited for this long: a write in pieces must not be read as a deletion.
const LONGEST_WRITE: Duration = Duration::from_secs(1);

/// Paths that changed and are not read yet.
#[derive(Debug, Default)]
pub struct Settle {
    pending: BTreeSet<PathBuf>,
    open: BTreeSet<PathBuf>,
    since: Option<(Instant, Instant)>,
    everything: bool,
}

impl Settle {
    /// Something happened.
    pub fn note(&mut self, event: &Event, now: Instant) {
        let relevant = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        };
        if !relevant {
            return;
        }
        self.everything |= event.need_rescan();
        for path in &event.paths {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => self.open.insert(path.clone()),
                EventKind::Create(CreateKind::File) => false,
                _ => self.open.remove(path),
            };
            self.pending.insert(path.clone());
        }
        self.since = Some((self.since.map_or(now, |(first, _)| first), now));
    }

    /// When the burst will be over, if nothing more happens.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        Some(match self.open.is_empty() {
            true => (last + QUIET).min(first + LONGEST),
            false => first + LONGEST_WRITE,
        })
    }

    /// What is to be read again; `None`: everything, because events were lost.
    pub fn take(&mut self) -> Option<BTreeSet<PathBuf>> {
        let taken = std::mem::take(self);
        (!taken.everything).then_some(taken.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::DataChange;

    const MODIFIED: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn event(kind: EventKind) -> Event {
        Event::new(kind).add_path("/a.yaml".into())
    }

    #[test]
    fn a_burst_is_over_when_it_is_quiet_and_nothing_is_being_written() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut settle = Settle::default();
        assert_eq!(settle.due(), None);
        settle.note(&event(MODIFIED), at(0));
        assert_eq!(settle.due(), Some(at(1000)));
        settle.note(&event(CLOSED), at(30));
        assert_eq!(settle.due(), Some(at(50)));
        assert_eq!(settle.take(), Some(BTreeSet::from(["/a.yaml".into()])));
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn a_burst_without_end_is_read_in_between() {
        let start = Instant::now();
        let mut settle = Settle::default();
        for ms in 0..100 {
            settle.note(&event(CLOSED), start + Duration::from_millis(ms));
        }
        assert_eq!(settle.due(), Some(start + Duration::from_millis(100)));
    }

    #[test]
    fn reading_a_file_is_no_change() {
        let mut settle = Settle::default();
        settle.note(&event(EventKind::Access(AccessKind::Open(AccessMode::Any))), Instant::now());
        assert_eq!(settle.due(), None);
    }
}
