//! What the lab tests share: pods and services in one line each, load, and steps that go through one lab.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests, their helpers included")]

use std::any::Any;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use underpass_tests::install::built;
use underpass_tests::{Lab, Options, Topology, until};

/// How long something may take that happens at once on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_secs(10);

/// A part of a test: what it shows, and how.
pub type Step = (&'static str, fn(&mut Lab));

/// A lab of this topology (see [`Topology::parse`]).
pub fn lab(name: &str, topology: &str) -> Lab {
    let topology = Topology::parse(topology).expect("the topology is right");
    Lab::up(Options { topology, ..Options::test(name) }).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Every step, whatever became of those before; one lab serves all, because it takes seconds to make.
pub fn through(mut lab: Lab, steps: &[Step]) {
    let mut failed = Vec::new();
    for (name, step) in steps {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| step(&mut lab)));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        eprintln!("  {word} {name} ({:.1} s)", began.elapsed().as_secs_f64());
        failed.extend(outcome.err().map(|panic| format!("{name}: {}", said(panic.as_ref()))));
    }
    if failed.is_empty() {
        return;
    }
    // What failed comes last, where whoever reads only the end of a log finds it.
    lab.show_logs();
    drop(lab);
    panic!("{} of {} steps failed\n{}", failed.len(), steps.len(), failed.join("\n"));
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// Applies to cluster east what is right: a test of an object that is not in force would show nothing.
pub fn apply(lab: &mut Lab, text: &str) {
    assert_right(text);
    apply_to(lab, "east", text);
}

/// References that lead out of a text, and rules that are to answer 500.
const EXPECTED: &str = "missing-parent,missing-target,missing-credential,missing-secret,missing-host,missing-subset,\
                         missing-backend,missing-provider,missing-port,missing-delegate,unsupported-filter,invalid-kind,not-granted";

/// `underpass analyze` finds no error but those of references to what an earlier text brought, and those that tests are after.
fn assert_right(text: &str) {
    let mut analyze = Command::new(built("underpass"));
    analyze.args(["analyze", "-", "--ignore", EXPECTED]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut analyze = analyze.spawn().unwrap();
    analyze.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = analyze.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Applies to a cluster.
pub fn apply_to(lab: &mut Lab, cluster: &str, text: &str) {
    lab.apply_text(cluster, text, "scene").unwrap_or_else(|error| panic!("{error:#}"));
}

/// Deletes from cluster east.
pub fn delete(lab: &mut Lab, text: &str) {
    lab.delete_text("east", text, "scene").unwrap_or_else(|error| panic!("{error:#}"));
}

/// A Service whose pods have the label `app` of the same name; the port's name says the protocol.
pub fn service(name: &str, protocol: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  \
         ports: [{{name: {protocol}, port: {port}}}]\n"
    )
}

/// A DestinationRule for a host, named after it; the policy in YAML's flow style.
pub fn destination_rule(host: &str, policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\n\
         spec:\n  host: {host}\n  trafficPolicy: {policy}\n"
    )
}

/// A VirtualService for a host, named after it; the rest of its `spec` as it is written.
pub fn virtual_service(host: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}}}\n\
         spec:\n  hosts: [{host}]\n  {rules}\n"
    )
}

/// A pod on a node, of its own service account.
pub struct Pod<'a> {
    /// Its name, also that of its service account.
    pub name: &'a str,
    /// Label `app`.
    pub app: &'a str,
    /// Label `version`.
    pub version: &'a str,
    /// Its node.
    pub node: &'a str,
    /// Its container, in YAML's flow style.
    pub container: String,
}

impl Pod<'_> {
    /// Its manifest.
    pub fn text(&self) -> String {
        let Self { name, app, version, node, container } = self;
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}, version: {version}}}}}\n\
             spec:\n  serviceAccountName: {name}\n  nodeSelector: {{kubernetes.io/hostname: {node}}}\n  \
             containers: [{container}]\n"
        )
    }
}

/// A container that runs a program of this machine.
pub fn running(words: &[&str]) -> String {
    format!("{{name: main, image: {}, command: {}}}", words[0], serde_json::json!(words))
}

/// A container that answers every GET as version `version` after so many seconds, with 503 while that file is there.
pub fn moody(version: &str, seconds: &str, flag: &str) -> String {
    let code = format!(
        "use IO::Socket::INET; $SIG{{CHLD}} = 'IGNORE'; \
         $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 99, ReuseAddr => 1) or die; \
         while ($c = $s->accept) {{ next if fork; while (<$c>) {{ next unless /^\\r?$/; select(undef, undef, undef, {seconds}); \
         $status = -e '{flag}' ? '503 No' : '200 OK'; \
         print $c qq(HTTP/1.1 $status\\r\\nx-pod-version: {version}\\r\\ncontent-length: 0\\r\\n\\r\\n) }} exit }}"
    );
    running(&["perl", "-e", &code])
}

/// A container that waits for commands.
pub fn sleeping() -> String {
    "{name: main, image: sleep, command: [/bin/sleep, infinity]}".to_owned()
}

/// A container that answers HTTP.
pub fn http(port: u16) -> String {
    format!("{{name: main, image: echo, ports: [{{name: http, containerPort: {port}}}]}}")
}

/// A container that returns lines, with a word before each.
pub fn tcp(port: u16, word: &str) -> String {
    format!(
        "{{name: main, image: tcp-echo, args: ['{port}', '{word}'], ports: [{{name: tcp, containerPort: {port}}}]}}"
    )
}

/// A pod that waits for commands.
pub fn client(name: &str, node: &str) -> String {
    Pod { name, app: name, version: "v1", node, container: sleeping() }.text()
}

/// Two clients of the mesh, in different namespaces, and one that proves nothing.
pub fn three_clients(node: &str) -> String {
    let namespace = "---\napiVersion: v1\nkind: Namespace\n\
                     metadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}\n";
    let other = client("bob", node).replace("{name: bob,", "{name: bob, namespace: other,");
    let outsider =
        client("outsider", node).replace("{app: outsider,", "{istio.io/dataplane-mode: none, app: outsider,");
    [&client("alice", node), namespace, &other, &outsider].concat()
}

/// The lab's HTTP client, to its end.
pub fn load(lab: &Lab, pod: &str, url: &str, more: &[&str]) -> Value {
    let words = [&["load", "--url", url, "--timeout-ms", "5000"], more].concat();
    lab.client(pod, &words).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The lab's TCP client, to its end.
pub fn tcp_load(lab: &Lab, pod: &str, address: &str, connections: u64) -> Value {
    let count = connections.to_string();
    let words = ["tcp-load", "--address", address, "--connections", &count, "--timeout-ms", "5000"];
    lab.client(pod, &words).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Waits until an address is answered: agents hear of what was applied a moment later.
pub fn reachable(lab: &Lab, pod: &str, address: &str) {
    until(&format!("{pod} reaches {address}"), SOON, || {
        (number(&tcp_load(lab, pod, address, 1)["failed"]) == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

/// Waits until a URL is answered with 200.
pub fn answering(lab: &Lab, pod: &str, url: &str) {
    until(&format!("{pod} is answered by {url}"), SOON, || {
        (number(&load(lab, pod, url, &[])["statuses"]["200"]) == 1).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

/// A client that runs beside what comes next.
pub fn start(lab: &Lab, pod: &str, words: &[&str]) -> Child {
    let echo = lab.echo();
    let words = [&[echo.as_str()], words].concat();
    let mut command = lab.command(pod, &words).unwrap();
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A connection that stays open for so many seconds, a line every 50 ms; returns when it is made.
pub fn hold(lab: &Lab, pod: &str, address: &str, seconds: &str) -> Child {
    let mut child = start(lab, pod, &["hold", "--address", address, "--seconds", seconds, "--every-ms", "50"]);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "connected", "{pod} to {address}");
    child
}

/// What the echo application says of one request.
pub fn ask(lab: &Lab, pod: &str, url: &str) -> Value {
    let text = lab.exec_ok(pod, &["curl", "-sS", "-m", "5", "-g", url]).unwrap_or_else(|error| panic!("{error:#}"));
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

/// What it says at its end.
pub fn finish(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// That so many requests were sent and all were answered with 200.
pub fn assert_answered(seen: &Value, count: u64) {
    assert_eq!((number(&seen["failed"]), number(&seen["statuses"]["200"])), (0, count), "{seen:#}");
}

/// That nothing failed and every answer was a 200, of at least so many.
pub fn assert_unhurt(seen: &Value, at_least: u64) {
    let good = number(&seen["statuses"]["200"]);
    assert_eq!((number(&seen["failed"]), good), (0, number(&seen["sent"])), "{seen:#}");
    assert!(good >= at_least, "only {good} requests: {seen:#}");
}

/// That so many connections were made and all were answered.
pub fn assert_echoed(seen: &Value, count: u64) {
    assert_eq!((number(&seen["failed"]), number(&seen["sent"])), (0, count), "{seen:#}");
}

/// That a held connection lived to the end, with so many lines at least.
pub fn assert_held(seen: &Value, at_least: u64) {
    assert!(seen["error"].is_null() && number(&seen["echoed"]) >= at_least, "{seen:#}");
}

/// A number of a JSON answer; absent is 0.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Whether so many of `all` fit a share: four standard deviations, 1 run in 16000 is outside.
pub fn assert_share(count: u64, all: u64, share: f64) {
    let (count, all) = (count as f64, all as f64);
    let spread = 4.0 * (all * share * (1.0 - share)).sqrt();
    assert!((count - all * share).abs() <= spread, "{count} of {all}, {share} wanted");
}
