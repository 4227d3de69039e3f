//! Failures made on purpose.

use super::Reading;
use super::raw::{Abort as RawAbort, Delay, Fault as RawFault};
use crate::model::http_rule::{Abort, Fault, Share};
use crate::source::path::Path;
use crate::source::quantity::{self, Percent};
use crate::source::schema::nearest;
use std::time::Duration;

/// gRPC's status codes, by number.
const GRPC: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Reading<'_, '_> {
    /// What `fault` says.
    pub fn fault(&mut self, raw: &RawFault, path: &Path) -> Fault {
        if raw.delay.is_none() && raw.abort.is_none() {
            self.notes.error("missing-field", path, "does nothing: write delay or abort");
        }
        Fault {
            delay: raw.delay.as_ref().and_then(|raw| self.delay(raw, &path.key("delay"))),
            abort: raw.abort.as_ref().and_then(|raw| self.abort(raw, &path.key("abort"))),
        }
    }

    fn delay(&mut self, raw: &Delay, path: &Path) -> Option<(Duration, Share)> {
        let share = match (raw.percentage, raw.percent) {
            (None, Some(percent)) => {
                let path = path.key("percent");
                self.notes.warning("deprecated-field", &path, "is deprecated: write percentage.value");
                #[allow(clippy::cast_precision_loss)] // Far too many in any case.
                quantity::share(Percent { value: percent as f64 }, &path, self.notes)
            }
            (percentage, _) => self.share(percentage, path, "delayed"),
        };
        let Some(text) = &raw.fixed_delay else {
            self.notes.warning("no-effect", path, "delays nothing: say how long, with fixedDelay");
            return None;
        };
        let delay = quantity::duration(Some(text), &path.key("fixedDelay"), self.notes);
        Some((delay?, share?))
    }

    fn abort(&mut self, raw: &RawAbort, path: &Path) -> Option<(Abort, Share)> {
        let share = self.share(raw.percentage, path, "aborted");
        let abort = match (raw.http_status, &raw.grpc_status) {
            (Some(_), Some(_)) => {
                self.notes.error("conflict", &path.key("grpcStatus"), "stands beside `httpStatus`: keep one of them");
                None
            }
            (Some(status), None) => quantity::status(status, &path.key("httpStatus"), self.notes).map(Abort::Http),
            (None, Some(name)) => self.grpc_status(name, &path.key("grpcStatus")).map(Abort::Grpc),
            (None, None) => {
                self.notes.warning("no-effect", path, "aborts nothing: write httpStatus or grpcStatus");
                None
            }
        };
        Some((abort?, share?))
    }

    /// A share of the requests; of none where none is said, as in Istio.
    fn share(&mut self, raw: Option<Percent>, path: &Path, done: &str) -> Option<Share> {
        match raw {
            Some(percent) => quantity::share(percent, &path.key("percentage").key("value"), self.notes),
            None => {
                let what =
                    format!("without `percentage` no request is {done} (so it is in Istio): write percentage.value");
                self.notes.warning("no-effect", path, what);
                Some(Share(0))
            }
        }
    }

    fn grpc_status(&mut self, name: &str, path: &Path) -> Option<u8> {
        if let Some(code) = GRPC.iter().position(|known| *known == name) {
            return u8::try_from(code).ok();
        }
        let meant =
            nearest(name, GRPC).map_or("such as UNAVAILABLE".to_owned(), |meant| format!("did you mean {meant}?"));
        self.notes.invalid("invalid-value", path, format!("`{name}` is not a gRPC status: {meant}"));
        None
    }
}
