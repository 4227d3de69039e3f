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

/// What is right to say of Istio's samples beside what is not supported yet.
const SAMPLES: &[(&str, &[&str])] = &[
    ("networking/egress-rule-google-apis.yaml", &["missing-host"]),
    // Both rules of the sample take every request.
    ("networking/fault-injection-details-v1.yaml", &["unreachable-rule"]),
    // Its Gateway is in another file.
    ("tcp-echo/tcp-echo-20-v2.yaml", &["missing-gateway"]),
];

/// Fields and kinds of releases to come.
const LATER: [&str; 3] = ["unsupported-kind", "unsupported-field", "gateway-route"];

#[test]
fn what_is_said_of_istios_samples_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let beside = ["../shared/samples", "../../shared/samples"].map(|below| root.join(below));
    let Some(samples) = beside.iter().find(|dir| dir.is_dir()) else {
        eprintln!("skipped: there is no ../shared/samples beside the workspace");
        return;
    };
    for (dir, base) in [
        (
            "bookinfo/networking",
            &["bookinfo/platform/kube/bookinfo.yaml", "bookinfo/networking/destination-rule-all.yaml"],
        ),
        (
            "bookinfo/gateway-api",
            &["bookinfo/platform/kube/bookinfo.yaml", "bookinfo/platform/kube/bookinfo-versions.yaml"],
        ),
        ("tcp-echo", &["tcp-echo/tcp-echo-services.yaml"; 2]),
        ("tcp-echo/gateway-api", &["tcp-echo/tcp-echo-services.yaml"; 2]),
        ("helloworld", &["helloworld/helloworld.yaml"; 2]),
        ("httpbin", &["httpbin/httpbin.yaml"; 2]),
    ] {
        for entry in std::fs::read_dir(samples.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                judge(&path, &base.map(|name| samples.join(name)));
            }
        }
    }
}

/// A sample with what it builds upon, which some samples bring themselves.
fn judge(path: &Path, base: &[std::path::PathBuf]) {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).expect("it is read");
    let brings = |other: &&std::path::PathBuf| {
        let rules = text.contains("kind: DestinationRule") && other.ends_with("destination-rule-all.yaml");
        rules || text.contains("kind: Deployment")
    };
    let others: Vec<String> = base.iter().filter(|other| !brings(other)).map(|one| one.display().to_string()).collect();
    let mut files: Vec<&str> = others.iter().map(String::as_str).collect();
    files.insert(0, &name);
    files.extend(["-o", "json", "--ignore", "empty-subset"]);
    let output = underpass(&files, "");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let mut codes: Vec<&str> = found.as_array().into_iter().flatten().filter_map(|one| one["code"].as_str()).collect();
    codes.retain(|code| !LATER.contains(code));
    let expected = SAMPLES.iter().find(|(file, _)| name.ends_with(file)).map_or(&[][..], |(_, codes)| codes);
    assert_eq!(codes, expected, "{name}: {found:#}");
}
