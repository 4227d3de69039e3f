//! `cargo xtask test [unit|kernel|lab|all|slow]`: every test, with the runners' own summaries.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use underpass_tests::install::{self, workspace};
use underpass_tests::run::line;

/// Which tests.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Tier {
    /// No root, no eBPF toolchain: the crates' own tests, clippy's limits by `tidy`.
    Unit,
    /// Root: every program is loaded and does its part in a real network namespace.
    Kernel,
    /// Root: whole clusters, real clients.
    Lab,
    /// All of these.
    All,
    /// A minute of search by coverage for each thing that parses what others wrote; not part of `all`.
    Slow,
}

/// What the tiers with root use beside the lab's own needs.
const PROGRAMS: [install::Need; 3] = [("tcpdump", "tcpdump"), ("nft", "nftables"), ("python3", "python3")];

/// Runs the tests of a tier.
///
/// # Errors
/// A test fails, or something cannot be installed or built.
pub fn run(tier: Tier) -> Result<()> {
    if tier == Tier::Slow {
        return crate::fuzz::run();
    }
    if matches!(tier, Tier::Unit | Tier::All) {
        crate::tidy::run()?;
        cargo(&["test"])?;
    }
    if tier == Tier::Unit {
        return Ok(());
    }
    prepare()?;
    if matches!(tier, Tier::Kernel | Tier::All) {
        cargo(&["test", "--test", "kernel", "--", "--test-threads=1"])?;
    }
    if matches!(tier, Tier::Lab | Tier::All) {
        install::build(&["underpass", "underpass-echo"])?;
        cargo(&["test", "--test", "lab", "--", "--test-threads=1"])?;
    }
    Ok(())
}

/// What the tiers with root need.
fn prepare() -> Result<()> {
    install::need(&install::LAB)?;
    install::need(&PROGRAMS)?;
    crate::build_programs()?;
    Ok(())
}

fn cargo(words: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(workspace());
    println!("== cargo {}", words.join(" "));
    ensure!(command.status()?.success(), "`{}` failed", line(&command));
    Ok(())
}
