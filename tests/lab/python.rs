//! Peers that share no code with us, in Python; their environment is kept in `target/`, and made again when its versions
//! change.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A file of the peers' sources.
pub fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(file)
}

/// The interpreter of a virtual environment that has what the peers import.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| environment().join("bin/python"))
}

fn environment() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let (wanted, made) = (source("requirements.txt"), dir.join("requirements.txt"));
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
