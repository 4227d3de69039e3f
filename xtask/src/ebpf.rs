//! Builds the eBPF programs into `target/ebpf/underpass`, which the agent embeds. Quick when nothing changed.

mod toolchain;

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

use anyhow::{Context, Result, bail, ensure};

use toolchain::{Toolchain, ways};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the programs where they are out of date, installing what that needs. Returns the object's path.
///
/// # Errors
/// Something is missing that cannot be installed from here: the message names it. Or the build fails.
pub fn build() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let target = workspace.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let object = target.join("ebpf").join("underpass");
    // Beside the object, not within its directory: the agent's build script watches that one.
    let build_dir = target.join("ebpf-build");
    let stamp = build_dir.join("built");
    let sources = workspace.join("ebpf");
    if object.is_file() && newest_of(&sources)? < modified(&stamp) {
        return Ok(object);
    }
    let started = SystemTime::now();
    compile(&sources.join("programs"), &build_dir)?;
    publish(&build_dir.join(TARGET).join("release").join("underpass"), &object)?;
    fs::write(&stamp, "")?;
    fs::File::options().write(true).open(&stamp)?.set_modified(started)?;
    eprintln!("built {}", object.display());
    Ok(object)
}

/// With the first compiler and linker that can.
fn compile(programs: &Path, build_dir: &Path) -> Result<()> {
    let mut failed = Vec::new();
    for way in ways() {
        let name = way.to_string();
        match way.toolchain().and_then(|toolchain| compile_with(&toolchain, programs, build_dir)) {
            Ok(()) => return Ok(()),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    bail!("the eBPF programs cannot be built here:\n{}", failed.join("\n"))
}

fn compile_with(toolchain: &Toolchain, programs: &Path, build_dir: &Path) -> Result<()> {
    eprintln!("building the eBPF programs with {toolchain} ...");
    let mut cargo = toolchain.cargo();
    cargo.current_dir(programs).args(["build", "--release", "--locked", "--target", TARGET]);
    cargo.args(["-Z", "build-std=core", "--target-dir"]).arg(build_dir);
    // Types of the maps and lines for the verifier's log; the linker turns them into BTF.
    cargo.env("RUSTFLAGS", "-C debuginfo=2 -C link-arg=--btf").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "the eBPF programs do not build; {}", toolchain.hint());
    Ok(())
}

/// Leaves an equal object alone, so that the agent is not built again for nothing.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("the build left no {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let directory = object.parent().context("the object is in a directory")?;
    fs::create_dir_all(directory)?;
    // In one step: another cargo may be reading.
    let next = directory.with_extension("next");
    fs::write(&next, new)?;
    Ok(fs::rename(next, object)?)
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When anything below was last changed; removing a file changes its directory.
fn newest_of(directory: &Path) -> io::Result<SystemTime> {
    let mut newest = modified(directory);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_directory = entry.file_type()?.is_dir();
        if is_directory && entry.file_name() == "target" {
            continue;
        }
        let changed = if is_directory { newest_of(&entry.path())? } else { modified(&entry.path()) };
        newest = newest.max(changed);
    }
    Ok(newest)
}
