//! A Rust compiler with its library's sources, and the linker that matches it: rustup's nightly, else Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

use anyhow::{Context, Result, ensure};

const LINKER: &str = "bpf-linker";
/// The release that was tried.
const LINKER_VERSION: &str = "0.13.0";
/// The oldest LLVM that this release can be built for.
const OLDEST_LLVM: u32 = 21;
/// Compiler and library sources that match: the backport first, which has what edition 2024 needs on Debian 12.
const DEBIAN: [[&str; 2]; 2] = [["rustc-web", "rust-web-src"], ["rustc", "rust-src"]];

/// What builds the programs.
pub struct Toolchain {
    compiler: Compiler,
    /// The directory of the linker.
    linker: PathBuf,
    llvm: u32,
}

enum Compiler {
    Nightly,
    Debian,
}

/// A compiler that may do, and whether it may be installed for that.
pub struct Way {
    compiler: Compiler,
    install: bool,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "with {}", self.compiler)
    }
}

/// What to try, in this order: what is here already, then what can be installed. Debian's packages come before rustup's
/// nightly, whose LLVM is often newer than any that Debian has for the linker.
pub fn ways() -> Vec<Way> {
    let present = [Compiler::Debian, Compiler::Nightly].into_iter();
    let present = present.filter(|compiler| find(LINKER).is_some() && compiler.has_sources());
    let present = present.map(|compiler| Way { compiler, install: false });
    let install = [Compiler::Debian, Compiler::Nightly].map(|compiler| Way { compiler, install: true });
    present.chain(install).collect()
}

impl Way {
    /// The compiler and its linker, installed if they may be.
    ///
    /// # Errors
    /// What is missing, how it is installed by hand, and why that failed here.
    pub fn toolchain(self) -> Result<Toolchain> {
        if self.install && !self.compiler.will_do() {
            self.compiler.install()?;
        }
        let llvm = self.compiler.llvm()?;
        let linker = match find(LINKER) {
            Some(linker) => linker,
            None => install_linker(llvm)?,
        };
        Ok(Toolchain { compiler: self.compiler, linker, llvm })
    }
}

impl Toolchain {
    /// A cargo that uses both.
    pub fn cargo(&self) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]).env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
                command
            }
            Compiler::Debian => {
                let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                // build-std is unstable; this lets a stable compiler of any distribution do it.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.linker.clone()).chain(env::split_paths(&path));
        if let Ok(path) = env::join_paths(dirs) {
            command.env("PATH", path);
        }
        // Of the xtask that runs this, not of the programs.
        command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        command
    }

    /// What to look at when the build fails.
    pub fn hint(&self) -> String {
        let linker = linker_install(self.llvm);
        format!("if the linker complains of its input, it was built for another LLVM: `{linker} --force`")
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (LLVM {}) and {}", self.compiler, self.llvm, self.linker.join(LINKER).display())
    }
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "rustup's nightly",
            Self::Debian => "Debian's rustc",
        })
    }
}

impl Compiler {
    fn has_sources(&self) -> bool {
        let Ok(sysroot) = said(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
    }

    /// Whether there is nothing to install: its library's sources are here, and a linker can be built for its LLVM.
    fn will_do(&self) -> bool {
        self.has_sources() && self.llvm().is_ok_and(|llvm| llvm >= OLDEST_LLVM)
    }

    fn install(&self) -> Result<()> {
        let by_hand = match self {
            Self::Nightly => {
                eprintln!("installing a nightly compiler with its library's sources ...");
                let mut rustup = Command::new("rustup");
                rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
                said(&mut rustup)?;
                "rustup toolchain install nightly --component rust-src".to_owned()
            }
            Self::Debian => {
                apt_install(&DEBIAN[0]).or_else(|_| apt_install(&DEBIAN[1]))?;
                format!("apt-get install {}", DEBIAN[0].join(" "))
            }
        };
        ensure!(self.has_sources(), "no Rust compiler here has the sources of its core library: `{by_hand}`");
        Ok(())
    }

    fn rustc(&self) -> Command {
        match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
            Self::Debian => Command::new(DEBIAN_RUSTC),
        }
    }

    /// The major version of the compiler's LLVM: the linker reads what it wrote.
    fn llvm(&self) -> Result<u32> {
        let version = said(self.rustc().arg("-vV"))?;
        let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let major = llvm.and_then(|llvm| llvm.split('.').next()?.parse().ok());
        major.with_context(|| format!("no LLVM version in `rustc -vV`: {version}"))
    }
}

fn install_linker(llvm: u32) -> Result<PathBuf> {
    let packages = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    let mut packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    packages.extend(["libzstd-dev", "zlib1g-dev", "libxml2-dev"]);
    let by_hand = || {
        let (packages, install) = (packages.join(" "), linker_install(llvm));
        format!("{LINKER} is missing: `apt-get install {packages}`, then `{install}`")
    };
    apt_install(&packages).with_context(by_hand)?;
    eprintln!("building {LINKER} {LINKER_VERSION} for LLVM {llvm}, about two minutes ...");
    let install = linker_install(llvm);
    said(Command::new("sh").args(["-c", &install])).with_context(by_hand)?;
    find(LINKER).with_context(|| format!("`{install}` left no {LINKER} on PATH or in ~/.cargo/bin"))
}

fn linker_install(llvm: u32) -> String {
    format!(
        "LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo install {LINKER} --version {LINKER_VERSION} \
         --no-default-features --features llvm-{llvm}"
    )
}

fn apt_install(packages: &[&str]) -> Result<()> {
    ensure!(find("apt-get").is_some(), "this machine has no apt-get");
    let user = said(Command::new("id").arg("-u"))?;
    ensure!(user.trim() == "0", "installing {} needs root", packages.join(" "));
    eprintln!("installing {} ...", packages.join(" "));
    // A fresh machine has no package lists yet, or old ones: their compiler may be older than the one that there is.
    said(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    said(apt.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))?;
    Ok(())
}

/// The directory of a program, on PATH or where cargo installs.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let installed = cargo_home.into_iter().chain(home).map(|home| home.join("bin"));
    env::split_paths(&path)
        .chain(installed)
        .find(|dir| fs::metadata(dir.join(program)).is_ok_and(|meta| meta.is_file()))
}

/// Runs a program to its end: what it said, or its complaint.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
