//! How a connection fails: the stage, the flag for metrics, the reason for the log.

use crate::telemetry::Outcome;
use crate::vocab::Stage;
use std::fmt::Display;
use thiserror::Error;

/// A connection that ended in a stage before its end.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct Failed {
    /// Where.
    pub stage: Stage,
    /// Label `response_flags`.
    pub flag: &'static str,
    /// Why.
    pub reason: String,
}

impl Failed {
    /// A failure in `stage`.
    pub fn new(stage: Stage, flag: &'static str, reason: impl Display) -> Self {
        Self { stage, flag, reason: reason.to_string() }
    }

    /// What telemetry records of it.
    pub fn outcome(&self) -> Outcome {
        Outcome::failed(self.flag, self.stage, &self.reason)
    }
}

/// Adds stage and flag to an error, beside the call that failed.
pub trait At<T> {
    /// The error as a [`Failed`].
    fn at(self, stage: Stage, flag: &'static str) -> Result<T, Failed>;
}

impl<T, E: Display> At<T> for Result<T, E> {
    fn at(self, stage: Stage, flag: &'static str) -> Result<T, Failed> {
        self.map_err(|error| Failed::new(stage, flag, error))
    }
}
