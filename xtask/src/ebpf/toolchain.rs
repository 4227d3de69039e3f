//! A Rust compiler with its library's sources, and the linker that matches it: rustup's nightly, else Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

use anyhow::{Context, Result, bail, ensure};

const LINKER: &str = "bpf-linker";
/// The release that was tried.
const LINKER_VERSION: &str = "0.13.0";
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

impl Toolchain {
    /// Finds a compiler and a linker; installs what is missing.
    ///
    /// # Errors
    /// What is missing, how it is installed by hand, and why that failed here.
    pub fn find_or_install() -> Result<Self> {
        let compiler = match Compiler::find() {
            Some(compiler) => compiler,
            None => Compiler::install()?,
        };
        let llvm = compiler.llvm()?;
        let linker = match find(LINKER) {
            Some(linker) => linker,
            None => install_linker(llvm)?,
        };
        Ok(Self { compiler, linker, llvm })
    }

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
        let compiler = match self.compiler {
            Compiler::Nightly => "rustup's nightly",
            Compiler::Debian => DEBIAN_RUSTC,
        };
        write!(f, "{compiler} (LLVM {}) and {}", self.llvm, self.linker.join(LINKER).display())
    }
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

impl Compiler {
    fn find() -> Option<Self> {
        [Self::Nightly, Self::Debian].into_iter().find(Self::has_sources)
    }

    fn has_sources(&self) -> bool {
        let Ok(sysroot) = said(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
    }

    fn install() -> Result<Self> {
        if find("rustup").is_some() {
            eprintln!("installing a nightly compiler with its library's sources ...");
            let mut rustup = Command::new("rustup");
            rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
            match said(&mut rustup) {
                Ok(_) if Self::Nightly.has_sources() => return Ok(Self::Nightly),
                Ok(_) => {}
                Err(error) => eprintln!("rustup cannot: {error:#}"),
            }
        }
        for packages in DEBIAN {
            match apt_install(&packages) {
                Ok(()) if Self::Debian.has_sources() => return Ok(Self::Debian),
                Ok(()) => {}
                Err(error) => eprintln!("apt cannot: {error:#}"),
            }
        }
        bail!(
            "no Rust compiler here has the sources of its core library: \
             `rustup toolchain install nightly --component rust-src`, or, on Debian, \
             `apt-get install {}`",
            DEBIAN[0].join(" ")
        )
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
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        said(apt.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
    };
    if install().is_err() {
        // A fresh machine has no package lists yet, or old ones.
        said(Command::new("apt-get").args(["update", "-qq"]))?;
        install()?;
    }
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
