//! `--only policy`: what a connection, a request and a changed policy cost beside AuthorizationPolicies for other
//! workloads.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use underpass_tests::{Agent, Lab, until};

use super::config::changes::{self, Measured};

/// Workloads with policies, and policies of each: 10,000 policies in the largest mesh.
const WORKLOADS: [u32; 3] = [500, 1000, 2000];
const EACH: u32 = 5;
/// Namespaces that those are in.
const NAMESPACES: u32 = 100;
/// Connections whose cost is taken. The decision is one of the smallest parts of it.
const CONNECTIONS: u32 = 5000;
/// Requests on kept connections, the same.
const REQUESTS: u32 = 20_000;
/// What a server's every port is allowed by.
pub const OF_ANY: &str = "ports: ['8080', '5201']";
/// What connections are allowed by, and what requests.
const OF_CONNECTIONS: &str = "ports: ['8080']";
const OF_REQUESTS: &str = "ports: ['8080'], methods: [GET, HEAD], paths: ['/', '/reviews/{*}']";
const PODS: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// Measures, prints the table, returns the JSON.
///
/// # Errors
/// The agent does not start, does not see a change, or a connection fails.
pub fn run(lab: &mut Lab) -> Result<Value> {
    // The agent that is measured is the client's and the server's.
    lab.agent("east", "east-2")?.stop(Duration::from_secs(10));
    let dir = lab.record.manifests("east").join("policies");
    let mut sizes = Vec::new();
    for workloads in WORKLOADS {
        eprintln!("policy: {} policies for {workloads} workloads ...", workloads * EACH);
        sizes.push(measure(lab, &dir, workloads)?);
    }
    print!("{}", table(&sizes));
    fs::remove_dir_all(&dir)?;
    lab.restart_agent("east", "east-2", &[])?;
    let object = |one: &Measured| one.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Value>();
    Ok(sizes.iter().map(object).collect())
}

fn measure(lab: &mut Lab, dir: &Path, workloads: u32) -> Result<Measured> {
    let agent = lab.agent("east", "east-1")?;
    agent.stop(Duration::from_secs(10));
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    fs::write(dir.join("mesh.yaml"), mesh(workloads))?;
    fs::write(dir.join("own.yaml"), own("near", OF_CONNECTIONS).join("---\n"))?;
    for n in 0..workloads * EACH {
        fs::write(dir.join(format!("p{n}.yaml")), policy(n, workloads, "*/sa/a"))?;
    }
    let started = Instant::now();
    let agent = lab.restart_agent("east", "east-1", &[])?;
    let start = started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(4));
    let connection = cost(lab, &agent, &["--new-connection", "true"], CONNECTIONS)?;
    fs::write(dir.join("own.yaml"), own("near", OF_REQUESTS).join("---\n"))?;
    until("requests are decided about", Duration::from_secs(10), || post_is_refused(lab).then_some(()))?;
    let request = cost(lab, &agent, &[], REQUESTS)?;
    let idle = changes::idle(&agent);
    let change = |n: u32, round: bool| {
        let account = if round { "*/sa/b" } else { "*/sa/c" };
        let (next, file) = (dir.join("next.tmp"), dir.join(format!("p{n}.yaml")));
        fs::write(&next, policy(n, workloads, account))?;
        Ok(fs::rename(next, file)?)
    };
    let [p50, p95, cpu] = changes::changes(&agent, idle, &change)?;
    Ok(vec![
        ("policies", f64::from(workloads * EACH)),
        ("workloads", f64::from(workloads)),
        ("start_s", start),
        ("connection_cpu_us", connection),
        ("request_cpu_us", request),
        ("policy_to_snapshot_p50_ms", p50),
        ("policy_to_snapshot_p95_ms", p95),
        ("policy_cpu_ms", cpu),
        ("rss_mb", agent.resident_bytes() as f64 / 1e6),
    ])
}

/// Processor time of the agent for one request, both pods being of its node, in microseconds.
fn cost(lab: &Lab, agent: &Agent, more: &[&str], requests: u32) -> Result<f64> {
    let count = requests.to_string();
    let ask = |count: &str| {
        let words = ["load", "--url", "http://near:8080/", "--concurrency", "8", "--requests", count];
        lab.client("east/default/client", &[&words[..], more].concat())
    };
    ask("200")?;
    let before = agent.cpu_seconds();
    let seen = ask(&count)?;
    ensure!(seen["statuses"]["200"] == requests, "not all were answered: {seen}");
    Ok((agent.cpu_seconds() - before) / f64::from(requests) * 1e6)
}

fn post_is_refused(lab: &Lab) -> bool {
    let words = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-d", "x", "http://near:8080/"];
    lab.exec_ok("east/default/client", &words).is_ok_and(|status| status == "403")
}

fn namespace(workload: u32) -> String {
    format!("team{}", workload % NAMESPACES)
}

/// The pods.
fn mesh(workloads: u32) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for n in 0..workloads {
        let (namespace, ip) = (namespace(n), Ipv4Addr::from(PODS + n));
        let _ = writeln!(
            text,
            "apiVersion: v1
kind: Pod
metadata: {{name: w{n}, namespace: {namespace}, labels: {{app: w{n}, istio.io/dataplane-mode: ambient}}}}
spec: {{nodeName: far, serviceAccountName: w{n}, containers: [{{name: app, image: app}}]}}
status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: \"True\"}}]}}
---"
        );
    }
    text
}

/// As many policies for the server that is asked as each of the others has; the first lets in.
pub fn own(app: &str, to: &str) -> Vec<String> {
    let one = |at| {
        let account = if at == 0 { "*" } else { "*/sa/nobody" };
        object((&format!("{app}{at}"), "default", app), account, to)
    };
    (0..EACH).map(one).collect()
}

fn policy(n: u32, workloads: u32, account: &str) -> String {
    let workload = n % workloads;
    object((&format!("p{n}"), &namespace(workload), &format!("w{workload}")), account, OF_CONNECTIONS)
}

fn object((name, namespace, app): (&str, &str, &str), account: &str, to: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {app}}}}}
  rules:
  - from: [{{source: {{principals: ['{account}']}}}}]
    to: [{{operation: {{{to}}}}}]
"
    )
}

/// A row for each figure, a column for each size; beside it how many times that of the smallest it is.
fn table(sizes: &[Measured]) -> String {
    let mut text = "\none agent, AuthorizationPolicies in files; five are for the server that is asked\n".to_owned();
    for (row, (name, one)) in sizes[0].iter().enumerate() {
        let _ = write!(text, "{name:30}");
        for values in sizes {
            let value = values[row].1;
            let _ = write!(text, "{:>20}", format!("{value:.1} ({:.2}x)", value / one));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_for_a_workload_of_its_own() {
        assert_eq!(mesh(3).matches("kind: Pod").count(), 3);
        assert!(policy(7, 5, "a").contains("namespace: team2") && policy(7, 5, "a").contains("app: w2"));
    }

    #[test]
    fn the_table_compares_with_the_smallest() {
        let text = table(&[vec![("rss_mb", 2.0)], vec![("rss_mb", 3.0)]]);
        assert!(text.contains("2.0 (1.00x)") && text.contains("3.0 (1.50x)"), "{text}");
    }
}
