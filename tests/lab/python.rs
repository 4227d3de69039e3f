//! Python environments for peers that share no code with us; kept in `target/`, made again when their versions change.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of these sources.
pub fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A virtual environment with what `requirements.txt` of these sources asks for.
pub fn environment(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(name.replace('_', "-"));
    let (wanted, made) = (sources(name).join("requirements.txt"), dir.join("requirements.txt"));
    if fs::read(&made).ok() != fs::read(&wanted).ok() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
        run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&wanted));
        fs::copy(wanted, made).unwrap();
    }
    dir
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap_or_else(|error| panic!("{command:?}: {error}")).success(), "{command:?}");
}
