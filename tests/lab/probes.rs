//! The kubelet's probes under STRICT, as curl makes them from the node: in the kubelet's cgroup, and out of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use underpass_tests::{Lab, clean, process, until};

use crate::pair::{SOON, WEB, at, logged};

/// What curl says of a connection that was reset without an answer: CURLE_RECV_ERROR, or CURLE_COULDNT_CONNECT where the
/// reset came before curl looked whether it is connected.
const RESET: [i32; 2] = [56, 7];

/// The kubelet of WEB's node: its name below the root of cgroup v2, and where that is.
struct Kubelet {
    name: String,
    path: PathBuf,
}

impl Kubelet {
    fn of(lab: &Lab) -> Result<Self> {
        // So named that the lab's end removes it.
        let name = format!("underpass-lab-{}-kubelet", lab.record.name);
        let path = clean::cgroup_root().context("no cgroup v2 is mounted")?.join(&name);
        Ok(Self { name, path })
    }

    /// Its service starts.
    fn start(&self) -> Result<()> {
        fs::create_dir(&self.path).with_context(|| self.path.display().to_string())
    }

    /// Its service ends.
    fn stop(&self) -> Result<()> {
        let busy = "the kubelet's cgroup is empty";
        until(busy, SOON, || fs::remove_dir(&self.path).ok())
    }
}

/// An HTTP probe of WEB from its node, by a process of `cgroup` or of none: curl's status, and what it printed.
fn probe(lab: &Lab, cgroup: Option<&Kubelet>, port: u16) -> Result<(i32, String)> {
    let pod = lab.pod(WEB)?;
    let entered = cgroup.map(|kubelet| format!("echo $$ > {}/cgroup.procs && ", kubelet.path.display()));
    let script = format!(
        "{}exec curl -sS -m 5 -o /dev/null -w '%{{http_code}}' http://{}/",
        entered.unwrap_or_default(),
        at(lab, WEB, port)?
    );
    let mut words = process::node_entry(&lab.record.node_netns(&pod.cluster, &pod.node));
    words.extend(["sh".to_owned(), "-c".to_owned(), script]);
    let output = Command::new(&words[0]).args(&words[1..]).output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), printed))
}

/// The mesh is STRICT: the kubelet is answered, another process of its node is not, whatever comes and goes.
pub fn pass(lab: &mut Lab) -> Result<()> {
    let kubelet = Kubelet::of(lab)?;
    let pod = lab.pod(WEB)?.clone();
    let agent = lab.restart_agent(&pod.cluster, &pod.node, &["--kubelet-cgroup", &kubelet.name])?;
    let known = |wanted: f64| (agent.metrics().ok()?.sum("underpass_kubelet_known", &[]) == wanted).then_some(());
    for round in 1..=2 {
        until("the kubelet is unknown", SOON, || known(0.0))?;
        let before = agent.access_log().len();
        let (refused, said) = probe(lab, None, 8080)?;
        ensure!(RESET.contains(&refused), "another process of the node, round {round}: {refused} {said}");
        let line = logged(&agent, before, |line| line["response_flags"] == "DENY")?;
        ensure!(line["error"].as_str().is_some_and(|error| error.contains("STRICT")), "{line}");
        kubelet.start()?;
        until("the kubelet is known", SOON, || known(1.0))?;
        let before = agent.access_log().len();
        let (status, said) = probe(lab, Some(&kubelet), 8080)?;
        ensure!((status, said.as_str()) == (0, "200"), "the kubelet, round {round}: {status} {said}");
        ensure!(agent.access_log().len() == before, "a probe is no traffic of the mesh");
        let (refused, said) = probe(lab, None, 8080)?;
        ensure!(RESET.contains(&refused), "another process beside the kubelet, round {round}: {refused} {said}");
        kubelet.stop()?;
    }
    Ok(())
}
