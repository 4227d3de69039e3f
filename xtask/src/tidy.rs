//! `cargo xtask tidy`: the rules of the code that neither the compiler nor clippy knows.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use underpass_tests::install::workspace;

const LONGEST_FILE: usize = 400;
const LONGEST_TEST: usize = 600;

/// A module of the agent imports from lower rows only.
const ROWS: &[(&str, u8)] = &[
    ("vocab", 0),
    ("model", 1),
    ("balance", 2),
    ("policy", 3),
    ("route", 3),
    ("token", 4),
    ("snapshot", 4),
    ("source", 5),
    ("capture", 5),
    ("identity", 5),
    ("tunnel", 5),
    ("relay", 5),
    ("telemetry", 5),
    ("connection", 6),
    ("analyze", 6),
    ("explain", 6),
    ("admin", 7),
    ("options", 8),
    ("ca", 9),
    ("node", 9),
];

/// A crate, and the beginnings of the agent's paths that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("aya", &["capture"]),
    ("kube", &["source"]),
    ("tonic", &["identity/remote", "ca"]),
    ("hyper", &["tunnel", "relay/http", "admin", "identity/remote", "ca"]),
    ("h2", &["tunnel", "relay/http", "admin"]),
];

/// Modules that decide, and what they may not name.
const PURE: [&str; 3] = ["policy", "route", "balance"];
const IMPURE: [&str; 6] = ["tokio::", "aya::", "kube::", "hyper::", "rustls::", "std::net::Tcp"];

/// Checks every Rust file of the workspace.
///
/// # Errors
/// The message lists what breaks a rule, a line each.
pub fn run() -> Result<()> {
    let root = workspace();
    let mut files = Vec::new();
    for dir in ["agent", "ebpf", "tests", "xtask"] {
        rust_files(&root.join(dir), &mut files);
    }
    let mut faults = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let path = file.strip_prefix(root).unwrap_or(file).display().to_string();
        faults.extend(faults_of(&path, &text));
    }
    ensure!(faults.is_empty(), "tidy:\n  {}", faults.join("\n  "));
    println!("tidy: {} files follow the rules", files.len());
    Ok(())
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok());
    for path in entries.map(|entry| entry.path()) {
        match path.extension() {
            Some(extension) if extension == "rs" => files.push(path),
            _ if path.is_dir() && !path.ends_with("target") => rust_files(&path, files),
            _ => {}
        }
    }
}

fn faults_of(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{path}: {what}"));
    if !text.starts_with("//!") {
        fault("the first line is no `//!`".to_owned());
    }
    let production = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let is_test = path.ends_with("tests.rs")
        || path.contains("/tests/")
        || path.starts_with("tests/kernel")
        || path.starts_with("tests/lab");
    let (lines, longest) = if is_test { (text, LONGEST_TEST) } else { (production, LONGEST_FILE) };
    if lines.lines().count() > longest {
        fault(format!("{} lines, at most {longest}", lines.lines().count()));
    }
    // Written in two parts, so that this file keeps its own rule.
    if !path.starts_with("ebpf/") && production.lines().any(|line| code(line).contains(concat!("unsa", "fe "))) {
        fault(concat!("unsa", "fe code outside ebpf/").to_owned());
    }
    if let Some(inner) = path.strip_prefix("agent/src/").filter(|_| !is_test) {
        import_faults(inner, production).into_iter().for_each(fault);
    }
    faults
}

fn import_faults(path: &str, text: &str) -> Vec<String> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some(row) = row_of(module) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = code(line);
        for other in code.split("crate::").skip(1).map(first_word).filter(|other| *other != module) {
            if row_of(other).is_some_and(|other| other >= row) {
                faults.push(format!("line {number}: {module} (row {row}) imports {other}"));
            }
        }
        if PURE.contains(&module) {
            let named = IMPURE.iter().filter(|name| code.contains(*name));
            faults.extend(named.map(|name| format!("line {number}: {module} is pure and names {name}")));
        }
        let named = CRATES
            .iter()
            .filter(|(name, allowed)| names_crate(code, name) && !allowed.iter().any(|a| path.starts_with(a)));
        faults.extend(named.map(|(name, allowed)| format!("line {number}: only {allowed:?} may name {name}")));
    }
    faults
}

fn row_of(module: &str) -> Option<u8> {
    ROWS.iter().find(|(name, _)| *name == module).map(|(_, row)| *row)
}

fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_point_down() {
        let faults = |path: &str, text: &str| faults_of(path, &format!("//! x\n{text}")).len();
        assert_eq!(faults("agent/src/route/mod.rs", "use crate::model::A;\n"), 0);
        assert_eq!(faults("agent/src/model/mod.rs", "use crate::route::A;\n"), 1);
        assert_eq!(faults("agent/src/telemetry/mod.rs", "use crate::tunnel::A;\n"), 1);
        assert_eq!(faults("agent/src/route/mod.rs", "use tokio::net::TcpStream;\n"), 1);
        assert_eq!(faults("agent/src/relay/http/a.rs", "use hyper::A;\nuse hyper_util::B;\n"), 0);
        assert_eq!(faults("agent/src/identity/a.rs", "use hyper::A;\n"), 1);
        assert_eq!(faults("agent/src/model/mod.rs", "#[cfg(test)]\nmod tests { use crate::route::A; }\n"), 0);
    }

    #[test]
    fn files_are_short_and_begin_with_a_sentence() {
        assert_eq!(faults_of("agent/src/a.rs", "use a;\n").len(), 1);
        assert_eq!(faults_of("agent/src/a.rs", &format!("//! x\n{}", "\n".repeat(401))).len(), 1);
    }
}
