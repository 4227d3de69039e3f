//! What the mesh does not need: packet filters, and capabilities in pods.

use std::process::Command;

use anyhow::{Context, Result};
use underpass_tests::{Lab, clean, install};

use super::outcome::Outcome;

/// Both.
pub fn checks(lab: &Lab, outcome: &mut Outcome) {
    outcome.add("no iptables or nftables rule", "none in any namespace of the lab", rules(lab));
    outcome.add("pods hold no capability", "CapEff and CapBnd are 0 in every process", capabilities(lab));
}

fn rules(lab: &Lab) -> Result<(String, bool)> {
    let namespaces = clean::namespaces(&lab.record.name);
    let mut found = Vec::new();
    for netns in &namespaces {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{netns}")).args(["nft", "list", "ruleset"]);
        let ruleset = underpass_tests::run::run(&mut command)?;
        if !ruleset.trim().is_empty() || has_legacy_rules(netns)? {
            found.push(netns.clone());
        }
    }
    Ok((
        format!("{} namespaces looked at, rules in {}: {}", namespaces.len(), found.len(), found.join(", ")),
        found.is_empty(),
    ))
}

/// iptables-legacy keeps its rules apart from nftables.
fn has_legacy_rules(netns: &str) -> Result<bool> {
    let mut any = false;
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        if install::find(program).is_some() {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{netns}")).arg(program);
            any |= underpass_tests::run::run(&mut command)?.lines().any(|line| line.starts_with("-A"));
        }
    }
    Ok(any)
}

fn capabilities(lab: &Lab) -> Result<(String, bool)> {
    let containers: Vec<_> = lab.record.pods.iter().flat_map(|pod| &pod.containers).collect();
    let mut holding = Vec::new();
    for container in &containers {
        let path = format!("/proc/{}/status", container.pid);
        let status = std::fs::read_to_string(&path).with_context(|| format!("container {}", container.name))?;
        let sets = status.lines().filter(|line| line.starts_with("CapEff:") || line.starts_with("CapBnd:"));
        if sets.into_iter().any(|line| line.split_whitespace().nth(1) != Some("0000000000000000")) {
            holding.push(container.name.clone());
        }
    }
    Ok((
        format!("{} processes, {} hold any {}", containers.len(), holding.len(), holding.join(", ")),
        holding.is_empty(),
    ))
}
