//! Asking a lab: its pods, commands in them, its agents.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::lab::Lab;
use crate::process;
use crate::record::PodRecord;

impl Lab {
    /// The pod of `CLUSTER/NAMESPACE/POD`, where POD is a pod's name, its owner's, its app, or a beginning of its name.
    ///
    /// # Errors
    /// None, or several that do not come from one owner; the message lists them.
    pub fn pod(&self, address: &str) -> Result<&PodRecord> {
        let parts: Vec<&str> = address.split('/').collect();
        let [cluster, namespace, name] = parts[..] else { bail!("{address:?} is not CLUSTER/NAMESPACE/POD") };
        let here = |pod: &&PodRecord| pod.cluster == cluster && pod.namespace == namespace;
        let pods: Vec<&PodRecord> = self.record.pods.iter().filter(here).collect();
        let owner = |pod: &PodRecord| pod.owner.split_once('/').is_some_and(|(_, owner)| owner == name);
        let ways: [&dyn Fn(&PodRecord) -> bool; 4] =
            [&|pod| pod.name == name, &|pod| owner(pod), &|pod| pod.app == name, &|pod| pod.name.starts_with(name)];
        let found = ways.iter().map(|way| pods.iter().filter(|pod| way(pod)).copied().collect::<Vec<_>>());
        let found = found.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
        let names = |pods: &[&PodRecord]| pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>().join(", ");
        let Some(first) = found.first() else { bail!("no pod {address}; there are: {}", names(&pods)) };
        let one_owner = found.iter().all(|pod| pod.owner == first.owner && !pod.owner.is_empty());
        ensure!(found.len() == 1 || one_owner, "{address} can be any of: {}", names(&found));
        Ok(first)
    }

    /// A command in a pod: its network, its names, no capability.
    ///
    /// # Errors
    /// No such pod.
    pub fn command(&self, pod: &str, words: &[&str]) -> Result<Command> {
        let pod = self.pod(pod)?;
        let entry = process::pod_entry(&pod.netns);
        let mut command = Command::new(&entry[0]);
        command.args(&entry[1..]).args(words).env(process::MARK, &self.record.name);
        Ok(command)
    }

    /// Runs a command in a pod to its end, whatever its end.
    ///
    /// # Errors
    /// No such pod, or `ip` cannot be started.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Result<Output> {
        Ok(self.command(pod, words)?.output()?)
    }

    /// Runs a command in a pod that has to end well; its standard output.
    ///
    /// # Errors
    /// It ends otherwise; the message has the line to repeat it by hand.
    pub fn exec_ok(&self, pod: &str, words: &[&str]) -> Result<String> {
        crate::run::run(&mut self.command(pod, words)?)
    }

    /// Runs the lab's own client in a pod (`load`, `tcp-load`, ...); the JSON that it prints.
    ///
    /// # Errors
    /// As [`Lab::exec_ok`], or it prints no JSON.
    pub fn client(&self, pod: &str, words: &[&str]) -> Result<Value> {
        let echo = self.echo();
        let mut all = vec![echo.as_str()];
        all.extend(words);
        let text = self.exec_ok(pod, &all)?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// The lab's echo application and client, readable for pods.
    pub fn echo(&self) -> String {
        self.record.dir().join("bin/underpass-echo").display().to_string()
    }

    /// The agent of a node.
    ///
    /// # Errors
    /// There is none.
    pub fn agent(&self, cluster: &str, node: &str) -> Result<Agent> {
        let found = self.agents().into_iter().find(|a| a.record.cluster == cluster && a.record.node == node);
        found.with_context(|| format!("no agent on {cluster}/{node}"))
    }

    /// The agent of the node on which a pod runs.
    ///
    /// # Errors
    /// No such pod, or no agent there.
    pub fn agent_of(&self, pod: &str) -> Result<Agent> {
        let pod = self.pod(pod)?;
        self.agent(&pod.cluster, &pod.node)
    }

    /// All agents.
    pub fn agents(&self) -> Vec<Agent> {
        let all = self.record.agents.iter();
        all.map(|record| Agent { lab: self.record.name.clone(), record: record.clone() }).collect()
    }
}
