//! Copies of requests.

use super::Reading;
use super::raw::{Http, Mirror as RawMirror};
use crate::model::http_rule::{Mirror, Share};
use crate::source::path::Path;
use crate::source::quantity::{self, Percent};

impl Reading<'_, '_> {
    /// Where copies go: `mirror` with its percentage, or `mirrors`.
    pub fn mirrors(&mut self, raw: &Http, path: &Path) -> Vec<Mirror> {
        let share = self.mirror_share(raw, path);
        let Some(to) = &raw.mirror else {
            let many = path.key("mirrors");
            let each = raw.mirrors.iter().enumerate();
            return each.filter_map(|(at, raw)| self.mirror(raw, &many.index(at))).collect();
        };
        if !raw.mirrors.is_empty() {
            self.notes.error("conflict", &path.key("mirrors"), "stands beside `mirror`: put all of them in `mirrors`");
        }
        let destination = self.destination(to, &path.key("mirror"));
        let mirror = |destination| Mirror { destination, share: share.unwrap_or(Share::ALL), broken: None };
        destination.map(mirror).into_iter().collect()
    }

    fn mirror(&mut self, raw: &RawMirror, path: &Path) -> Option<Mirror> {
        let destination = self.destination(&raw.destination, &path.key("destination"));
        let share = match raw.percentage {
            Some(percent) => quantity::share(percent, &path.key("percentage").key("value"), self.notes)?,
            None => Share::ALL,
        };
        Some(Mirror { destination: destination?, share, broken: None })
    }

    /// The share of `mirror`; none where it is not said.
    fn mirror_share(&mut self, raw: &Http, path: &Path) -> Option<Share> {
        let old = [("mirrorPercent", raw.mirror_percent), ("mirror_percent", raw.mirror_percent_of_old)];
        let mut share = None;
        for (key, percent) in old {
            let Some(percent) = percent else { continue };
            let path = path.key(key);
            self.notes.warning("deprecated-field", &path, "is deprecated: write mirrorPercentage.value");
            #[allow(clippy::cast_precision_loss)] // Far too many in any case.
            let read = quantity::share(Percent { value: percent as f64 }, &path, self.notes);
            share = share.or(read);
        }
        let new = raw
            .mirror_percentage
            .map(|percent| quantity::share(percent, &path.key("mirrorPercentage").key("value"), self.notes));
        let share = new.unwrap_or(share);
        if share.is_some() && raw.mirror.is_none() {
            let key = if new.is_some() { "mirrorPercentage" } else { "mirrorPercent" };
            self.notes.warning(
                "no-effect",
                &path.key(key),
                "is for `mirror`, which is not there; `mirrors` have each their own percentage",
            );
        }
        share
    }
}
