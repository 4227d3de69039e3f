//! Everything that parses what others wrote, as functions of bytes: manifests, frames, headers, first words, identities.
//!
//! A target must not panic, whatever it is given, and what it reads must survive being written and read again.
//! `tests/smoke.rs` feeds each for a moment with mutations of its corpus; the binary, built by `cargo xtask test slow`,
//! lets libFuzzer search by coverage.

mod exchanges;
mod manifests;
pub mod mutate;
mod requests;
mod tunnels;
mod words;

use std::path::{Path, PathBuf};

/// Something that is fed with bytes.
pub struct Target {
    /// Its name, and its directory below `corpus`.
    pub name: &'static str,
    /// Panics where something is wrong.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "manifests", run: manifests::whole },
    Target { name: "virtual-service", run: manifests::virtual_service },
    Target { name: "destination-rule", run: manifests::destination_rule },
    Target { name: "http-route", run: manifests::http_route },
    Target { name: "exchanges", run: exchanges::carried },
    Target { name: "requests", run: requests::routed },
    Target { name: "frames", run: tunnels::frames },
    Target { name: "lanes", run: tunnels::lanes },
    Target { name: "records", run: tunnels::records },
    Target { name: "hbone", run: tunnels::hbone },
    Target { name: "first-words", run: words::first_words },
    Target { name: "identities", run: words::identities },
];

impl Target {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Where its seeds are.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// Its seeds, in order of their names.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.corpus()).expect("every target has a corpus");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
    }
}
