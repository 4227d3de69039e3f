//! What a lab needs on the machine: Debian packages, and the project's own programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::run::run;

/// Program and the Debian package that has it.
pub type Need = (&'static str, &'static str);

/// What every lab uses.
pub const LAB: [Need; 6] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("curl", "curl"),
];

/// Where a program is; also looks where a plain user's PATH does not.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    dirs.map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

/// Installs the packages of the programs that are missing, and says so.
///
/// # Errors
/// Not root, or apt fails: the message names the packages.
pub fn need(needs: &[Need]) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "this needs root: network namespaces and eBPF; run it with sudo -E");
    let mut packages: Vec<&str> = needs.iter().filter(|(program, _)| find(program).is_none()).map(|n| n.1).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    eprintln!("installing {names} ...");
    ensure!(find("apt-get").is_some(), "please install {names}: this machine has no apt-get");
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(command.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))
    };
    if install().is_err() {
        // A fresh machine has no package lists yet.
        run(Command::new("apt-get").args(["update", "-qq"])).context("apt-get update")?;
        install().with_context(|| format!("please install {names}"))?;
    }
    if packages.contains(&"nginx") {
        // Debian starts it at once, on port 80 of the machine; the lab starts its own.
        let _ = run(Command::new("service").args(["nginx", "stop"]));
    }
    Ok(())
}

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds programs of the workspace, in release; cargo shows its own progress.
///
/// # Errors
/// The build fails.
pub fn build(bins: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("build").args(profile_args()).current_dir(workspace());
    // Inside `cargo xtask` these would describe xtask.
    for bin in bins {
        command.args(["--bin", bin]);
    }
    eprintln!("building {} ...", bins.join(", "));
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("`{}` failed", crate::run::line(&command));
    }
    Ok(())
}

/// Where [`build`] puts a program. `UNDERPASS_PROFILE=dev` takes the quick build, for work on the lab itself.
pub fn built(bin: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join(if is_dev() { "debug" } else { "release" }).join(bin)
}

fn profile_args() -> &'static [&'static str] {
    if is_dev() { &[] } else { &["--release"] }
}

fn is_dev() -> bool {
    std::env::var("UNDERPASS_PROFILE").is_ok_and(|profile| profile == "dev")
}
