//! The agent's own log: `tracing` to standard error, text or JSON, its level changeable while it runs.

use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How log lines look, the agent's own and the access log's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging cannot be set up or changed.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("`{filter}` is not a log level or filter (such as `debug` or `info,underpass::tunnel=trace`): {reason}")]
    Filter {
        /// What was asked for.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another subscriber is installed, or the reloading layer is gone.
    #[error("logging is not available: {0}")]
    Unavailable(String),
}

/// Shows and changes the level.
#[derive(Clone)]
pub struct LogControl(Arc<reload::Handle<EnvFilter, Registry>>);

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogControl").field(&self.level()).finish()
    }
}

/// Installs the process's log. `level` is a level or a filter as in `RUST_LOG`.
///
/// # Errors
/// The filter is wrong, or a log was installed before.
pub fn install(format: LogFormat, level: &str) -> Result<LogControl, LoggingError> {
    let (log, control) = build(format, level)?;
    log.try_init().map_err(|error| LoggingError::Unavailable(error.to_string()))?;
    Ok(control)
}

/// A log that is not installed. It must outlive its control.
pub(crate) fn build(format: LogFormat, level: &str) -> Result<(Dispatch, LogControl), LoggingError> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let log = Dispatch::new(tracing_subscriber::registry().with(filter).with(layer));
    Ok((log, LogControl(Arc::new(handle))))
}

impl LogControl {
    /// The filter in force.
    pub fn level(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Puts another filter in force.
    ///
    /// # Errors
    /// The filter is wrong; the old one stays.
    pub fn set(&self, level: &str) -> Result<(), LoggingError> {
        let filter = parse(level)?;
        self.0.reload(filter).map_err(|error| LoggingError::Unavailable(error.to_string()))?;
        // Records of the `log` crate (aya-log, rustls) have a bound of their own, which tracing sets at the start only.
        log::set_max_level(bound(LevelFilter::current()));
        Ok(())
    }
}

fn bound(level: LevelFilter) -> log::LevelFilter {
    match level.into_level() {
        None => log::LevelFilter::Off,
        Some(Level::ERROR) => log::LevelFilter::Error,
        Some(Level::WARN) => log::LevelFilter::Warn,
        Some(Level::INFO) => log::LevelFilter::Info,
        Some(Level::DEBUG) => log::LevelFilter::Debug,
        Some(Level::TRACE) => log::LevelFilter::Trace,
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LoggingError> {
    let wrong = |reason: String| LoggingError::Filter { filter: filter.to_owned(), reason };
    // A word that is no level would otherwise be taken for the name of a target, and silence everything.
    let is_word = |part: &&str| !part.contains('=') && *part != "off" && part.parse::<Level>().is_err();
    if let Some(word) = filter.split(',').find(is_word) {
        return Err(wrong(format!("`{word}` is no level")));
    }
    EnvFilter::builder().parse(filter).map_err(|error| wrong(error.to_string()))
}
