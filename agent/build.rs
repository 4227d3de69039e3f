//! Embeds the eBPF object that `cargo xtask build-ebpf` made. Without one the agent still builds, and says at its
//! start what is missing: neither `cargo check` nor the unit tests need the eBPF toolchain.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let directory = target().join("ebpf");
    // Cargo takes a missing path for changed at every build, so the directory is made and watched instead.
    fs::create_dir_all(&directory)?;
    println!("cargo::rerun-if-changed={}", directory.display());
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let object = match fs::read(directory.join("underpass")) {
        Ok(object) => object,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    fs::write(PathBuf::from(variable("OUT_DIR")).join("underpass.ebpf"), object)
}

fn target() -> PathBuf {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => workspace.join(target),
        None => workspace.join("target"),
    }
}

fn variable(name: &str) -> std::ffi::OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
}
