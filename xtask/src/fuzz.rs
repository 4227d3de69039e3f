//! `cargo xtask test slow`: libFuzzer's search by coverage, with the stable compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use underpass_tests::install::{self, workspace};

/// What makes coverage visible to libFuzzer. All of it is LLVM's, none needs a nightly compiler.
const FLAGS: [&str; 6] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Seconds for each target.
const SECONDS: u32 = 60;

/// Builds the targets with coverage and searches each for a minute. What it learns stays in `target/fuzz/corpus`.
///
/// # Errors
/// A target breaks: the message says which, and where the input is. Or it cannot be built.
pub fn run() -> Result<()> {
    install::need(&[("c++", "g++")])?;
    let program = build()?;
    let mut broken = Vec::new();
    for target in targets()? {
        println!("== fuzz {target}, {SECONDS} s");
        if !search(&program, &target)? {
            broken.push(target);
        }
    }
    ensure!(broken.is_empty(), "broken: {}; the inputs are in target/fuzz/broken", broken.join(", "));
    Ok(())
}

/// A target for each directory of seeds.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(seeds())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn seeds() -> PathBuf {
    workspace().join("tests/fuzz/corpus")
}

fn build() -> Result<PathBuf> {
    let host = host()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With a target named, build scripts and macros are left as they are.
    cargo.args(["build", "--package", "underpass-fuzz", "--bin", "underpass-fuzz", "--features", "guided"]);
    cargo.args(["--profile", "fuzz", "--target", &host, "--target-dir", "target/fuzz/build"]);
    cargo.env("RUSTFLAGS", FLAGS.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(workspace());
    ensure!(cargo.status()?.success(), "the fuzz targets do not build");
    Ok(workspace().join("target/fuzz/build").join(host).join("fuzz/underpass-fuzz"))
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("`rustc -vV` names no host:\n{text}"),
    }
}

/// Whether the target held.
fn search(program: &Path, target: &str) -> Result<bool> {
    let root = workspace().join("target/fuzz");
    let (learned, broken) = (root.join("corpus").join(target), root.join("broken"));
    std::fs::create_dir_all(&learned)?;
    std::fs::create_dir_all(&broken)?;
    let mut command = Command::new(program);
    command.env("UNDERPASS_FUZZ_TARGET", target).current_dir(workspace());
    command.args([format!("-max_total_time={SECONDS}"), format!("-artifact_prefix={}/{target}-", broken.display())]);
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1", "-verbosity=0"]);
    command.arg(learned).arg(seeds().join(target));
    Ok(command.status()?.success())
}
