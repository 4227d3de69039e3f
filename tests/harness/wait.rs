//! Waiting with a deadline: no test sleeps and hopes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks again and again until there is an answer.
///
/// # Errors
/// None within `patience`; the message says what was waited for.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("not within {patience:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
