//! Who is captured: every pod with the label, none without, and a running pod without losing its connection.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use underpass_tests::{Lab, PodRecord, process, until};

use super::outcome::Outcome;
use super::scene::OUTSIDER;

/// A namespace that is enrolled while its pods run.
const LATE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: late}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: late, labels: {app: server}}
spec:
  nodeSelector: {kubernetes.io/hostname: east-2}
  containers:
  - {name: server, image: tcp-echo, args: ['9000', 'late'], ports: [{name: tcp, containerPort: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: late, labels: {app: caller}}
spec:
  nodeSelector: {kubernetes.io/hostname: east-1}
  containers:
  - {name: caller, image: sleep, command: [/bin/sleep, infinity]}
";

const LABELLED: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: late, labels: {istio.io/dataplane-mode: ambient}}
";

/// All three.
pub fn checks(lab: &mut Lab, outcome: &mut Outcome) {
    outcome.add(
        "every pod with the label is captured",
        "the agent's /pods names it, its listeners are in its namespace",
        all(lab),
    );
    outcome.add(
        "a pod without the label is untouched",
        "no listener in its namespace, not named by the agent",
        outsider(lab),
    );
    outcome.add(
        "a pod enrolled while it holds an open connection",
        "that connection goes on, the next one goes through the mesh",
        enrolled_late(lab),
    );
    // What the check made is not part of the scene.
    if let Err(error) = lab.delete_text("east", LATE, "late") {
        eprintln!("{error:#}");
    }
}

fn all(lab: &Lab) -> Result<(String, bool)> {
    let pods: Vec<&PodRecord> = lab.record.pods.iter().filter(|pod| pod.namespace == "default").collect();
    let uncaptured = || -> Vec<String> {
        let missing = pods.iter().filter(|pod| !is_captured(lab, pod));
        missing.map(|pod| format!("{}/{}", pod.cluster, pod.name)).collect()
    };
    let captured = until("every pod is captured", Duration::from_secs(5), || uncaptured().is_empty().then(Vec::new));
    let missing = captured.unwrap_or_else(|_| uncaptured());
    Ok((
        format!("{} of {} captured {}", pods.len() - missing.len(), pods.len(), missing.join(", ")),
        missing.is_empty(),
    ))
}

fn outsider(lab: &Lab) -> Result<(String, bool)> {
    let pod = lab.pod(OUTSIDER)?;
    let listeners = has_listeners(pod);
    let named = is_named(lab, pod)?;
    Ok((format!("listeners {listeners}, captured according to the agent {named}"), !listeners && !named))
}

fn is_captured(lab: &Lab, pod: &PodRecord) -> bool {
    has_listeners(pod) && is_named(lab, pod).unwrap_or(false)
}

/// 15001 and 15006, the agent's two listeners in a pod's namespace.
fn has_listeners(pod: &PodRecord) -> bool {
    let pid = pod.containers.first().map_or(0, |container| container.pid);
    let open = process::listening(pid);
    open.contains(&15001) && open.contains(&15006)
}

/// Whether `/pods` names it as captured: an entry that says otherwise says `"captured": false`.
fn is_named(lab: &Lab, pod: &PodRecord) -> Result<bool> {
    let pods = lab.agent(&pod.cluster, &pod.node)?.admin("/pods")?;
    let list = pods.as_array().or_else(|| pods.get("pods")?.as_array()).cloned().unwrap_or_default();
    let names = |entry: &Value| entry.to_string().contains(&pod.name) && entry["captured"] != Value::Bool(false);
    Ok(list.iter().any(names))
}

fn enrolled_late(lab: &mut Lab) -> Result<(String, bool)> {
    lab.apply_text("east", LATE, "late")?;
    let target = format!("{}:9000", lab.pod("east/late/server")?.v4);
    let child = hold(lab, &target)?;
    lab.apply_text("east", LABELLED, "late")?;
    let caller = lab.pod("east/late/caller")?.clone();
    let captured = until("caller is captured", Duration::from_secs(10), || is_captured(lab, &caller).then_some(()));
    let next = lab.client(
        "east/late/caller",
        &["tcp-load", "--address", &target, "--connections", "5", "--timeout-ms", "3000"],
    )?;
    let held: Value = serde_json::from_slice(&child.wait_with_output()?.stdout).context("the client prints JSON")?;
    captured?;
    let agent = lab.agent_of("east/late/caller")?;
    let meshed = until("the new connections are logged", Duration::from_secs(3), || {
        agent.access_log().iter().any(|line| line.to_string().contains("/ns/late/sa/default")).then_some(())
    });
    let fits = held["error"].is_null() && held["echoed"].as_u64() > Some(10) && next["failed"] == 0 && meshed.is_ok();
    let text = format!(
        "held connection: {} lines, error {}; new connections: {} failed, {} by the agent",
        held["echoed"],
        held["error"],
        next["failed"],
        if meshed.is_ok() { "logged" } else { "NOT logged" }
    );
    Ok((text, fits))
}

fn hold(lab: &Lab, target: &str) -> Result<Child> {
    let echo = lab.echo();
    let words = [echo.as_str(), "hold", "--address", target, "--seconds", "4", "--every-ms", "100"];
    let mut command = lab.command("east/late/caller", &words)?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let stderr = child.stderr.take().context("stderr is piped")?;
    BufReader::new(stderr).read_line(&mut line)?;
    ensure!(line.trim() == "connected", "the connection to hold: {line}");
    Ok(child)
}
