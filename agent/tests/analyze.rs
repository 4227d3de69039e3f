//! `underpass analyze` as a process: arguments, standard input, output and exit codes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, prot: 80}
";

fn underpass(arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
    command.arg("analyze").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // A process that refuses its arguments does not read.
    _ = child.stdin.take().expect("it is piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_error_fails_with_1_and_is_shown_where_it_is() {
    let output = underpass(&["-"], ROUTES);
    assert_eq!(output.status.code(), Some(1));
    let expected = "-:8:36: error: spec.http[0].route[0].destination.prot: there is no such field; did you mean \
                    `port`? [unknown-field]\n  8 |     - destination: {host: reviews, prot: 80}\n    \
                    |                                    ^\n1 object in 1 file: 1 error, 0 warnings\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn warnings_fail_only_on_demand() {
    let routes = ROUTES.replace(", prot: 80", "");
    let output = underpass(&["-"], &routes);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("[missing-host]"), "{}", text(&output.stdout));
    assert_eq!(underpass(&["-", "--fail-on", "warning"], &routes).status.code(), Some(1));
    let ignored = underpass(&["-", "--fail-on", "warning", "--ignore", "missing-host"], &routes);
    assert_eq!(ignored.status.code(), Some(0), "{}", text(&ignored.stdout));
}

#[test]
fn what_cannot_be_read_and_wrong_arguments_are_2() {
    for arguments in [&["/nowhere/f.yaml"][..], &[], &["-", "--fail-on", "nothing"], &["-", "-o", "xml"]] {
        let output = underpass(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let said = text(&underpass(&["/nowhere/f.yaml"], "").stderr);
    assert!(said.starts_with("underpass: cannot read /nowhere/f.yaml: No such file"), "{said}");
}

#[test]
fn programs_get_an_array() {
    let output = underpass(&["-", "-o", "json"], ROUTES);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!([{
        "severity": "error", "code": "unknown-field", "file": "-", "line": 8, "column": 36,
        "message": "spec.http[0].route[0].destination.prot: there is no such field; did you mean `port`?",
        "source": "    - destination: {host: reviews, prot: 80}",
    }]);
    assert_eq!(found, expected);
    let clean = underpass(&["-", "-o", "json"], "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    assert_eq!((clean.status.code(), text(&clean.stdout)), (Some(0), "[]\n".to_owned()));
}

#[test]
fn directories_are_read_with_everything_below() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    std::fs::write(dir.path().join("below/routes.yml"), ROUTES).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no manifest").unwrap();
    std::fs::write(dir.path().join("manifest.txt"), ROUTES).unwrap();
    let path = |below: &str| dir.path().join(below).display().to_string();
    let output = text(&underpass(&[&path("")], "").stdout);
    assert!(output.ends_with("\n1 object in 1 file: 1 error, 0 warnings\n"), "{output}");
    assert!(output.contains(&format!("{}:8:36: error", path("below/routes.yml"))), "{output}");
    let named = text(&underpass(&[&path("manifest.txt")], "").stdout);
    assert!(named.contains("manifest.txt:8:36: error"), "{named}");
}

#[test]
fn the_examples_that_are_shipped_are_clean() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let base: Vec<String> =
        ["bookshop.yaml", "client.yaml", "tcp-echo.yaml"].map(|name| examples.join(name).display().to_string()).into();
    for extra in ["reviews-80-20.yaml", "reviews-test-v2.yaml", "tcp-echo-80-20.yaml", "mtls-strict.yaml"] {
        let extra = examples.join(extra).display().to_string();
        let subsets = examples.join("reviews-subsets.yaml").display().to_string();
        let files: Vec<&str> = base.iter().chain([&extra, &subsets]).map(String::as_str).collect();
        let output = underpass(&files, "");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    }
}
