//! A lab: made, changed, asked, removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::{self, Agent};
use crate::authority::Root;
use crate::clean;
use crate::document::{self, Document};
use crate::install;
use crate::lock::Lock;
use crate::network;
use crate::process;
use crate::reconcile::reconcile;
use crate::record::Record;
use crate::service;
use crate::store::Store;
use crate::topology::Topology;

/// How a lab is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Letters and digits; part of every name that the lab makes. `lab` is the command line's.
    pub name: String,
    /// Clusters and nodes.
    pub topology: Topology,
    /// Image prefix and the command that stands for it.
    pub images: Vec<(String, String)>,
    /// Whether agents are started.
    pub agents: bool,
    /// Whether the programs are built first; a test relies on its runner.
    pub build: bool,
    /// Whether dropping the [`Lab`] removes it.
    pub down_on_drop: bool,
}

impl Options {
    /// A lab for a test: the default topology, removed when dropped.
    pub fn test(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            topology: Topology::default(),
            images: Vec::new(),
            agents: true,
            build: false,
            down_on_drop: true,
        }
    }
}

/// A lab that is up.
pub struct Lab {
    /// What there is.
    pub record: Record,
    down_on_drop: bool,
}

impl Lab {
    /// Makes a lab. One of that name which is as asked stays; any other is removed first.
    ///
    /// # Errors
    /// Not root, a program is missing, a namespace or an agent cannot be made (then what was made is removed).
    pub fn up(options: Options) -> Result<Self> {
        install::need(&install::LAB)?;
        let plain = options.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        ensure!(plain && (1..=12).contains(&options.name.len()), "a lab's name is 1 to 12 of a-z and 0-9");
        if options.build {
            build(options.agents)?;
        }
        let _lock = Lock::take(&options.name)?;
        let mut lab = match Record::load(&options.name).filter(|record| is_as_asked(record, &options)) {
            Some(record) => Self { record, down_on_drop: options.down_on_drop },
            None => Self::make(&options)?,
        };
        lab.record.images.clone_from(&options.images);
        lab.record.unfinished = true;
        lab.record.save()?;
        reconcile(&mut lab.record)?;
        if options.agents {
            lab.start_agents()?;
        }
        lab.settled()?;
        Ok(lab)
    }

    fn make(options: &Options) -> Result<Self> {
        clean::remove(&options.name)?;
        clean::note_mount("/run/netns")?;
        let record = Record {
            name: options.name.clone(),
            block: network::free_block(options.name == "lab")?,
            topology: options.topology.clone(),
            with_agents: options.agents,
            images: options.images.clone(),
            unfinished: true,
            pods: Vec::new(),
            agents: Vec::new(),
            last_host: Default::default(),
        };
        // From here on dropping it removes it: a lab that could not be made whole is none.
        let mut lab = Self { record, down_on_drop: true };
        fs::create_dir_all(lab.record.logs())?;
        lab.record.save()?;
        lab.write_authorities()?;
        copy_echo(&lab.record.dir())?;
        network::make_nodes(&lab.record)?;
        lab.down_on_drop = options.down_on_drop;
        Ok(lab)
    }

    /// The lab of that name as it stands, for commands and for looking at it; not removed when dropped.
    ///
    /// # Errors
    /// There is none.
    pub fn open(name: &str) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "this needs root: run it with sudo -E");
        let record = Record::load(name).context("no lab is up; `cargo xtask lab up` makes one")?;
        Ok(Self { record, down_on_drop: false })
    }

    /// Removes it; nothing stays.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn down(name: &str) -> Result<()> {
        ensure!(nix::unistd::geteuid().is_root(), "this needs root: run it with sudo -E");
        let _lock = Lock::take(name)?;
        clean::remove(name)
    }

    /// Applies manifests to a cluster, as `kubectl apply -f` does, and waits until their pods run.
    /// `origin` names what cannot be read as an object.
    ///
    /// # Errors
    /// No such cluster, or a pod cannot be made.
    pub fn apply_text(&mut self, cluster: &str, text: &str, origin: &str) -> Result<()> {
        self.change(cluster, |store, record| {
            for (i, document) in document::split(text).iter().enumerate() {
                let document = with_addresses(document, store, record, cluster);
                store.put(&document, &format!("{origin}-{i}"))?;
            }
            Ok(())
        })
    }

    /// Deletes the objects of these manifests, gracefully: EndpointSlices, Pod objects, processes, namespaces.
    ///
    /// # Errors
    /// No such cluster, or something cannot be removed.
    pub fn delete_text(&mut self, cluster: &str, text: &str, origin: &str) -> Result<()> {
        self.change(cluster, |store, _| {
            for (i, document) in document::split(text).iter().enumerate() {
                store.remove(document, &format!("{origin}-{i}"))?;
                let namespace = document.object.as_ref().filter(|object| object.kind == "Namespace");
                namespace.map_or(Ok(()), |namespace| store.remove_namespace(&namespace.name))?;
            }
            Ok(())
        })
    }

    /// As [`Lab::apply_text`], from a file.
    ///
    /// # Errors
    /// As [`Lab::apply_text`], or the file cannot be read.
    pub fn apply_file(&mut self, cluster: &str, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        self.apply_text(cluster, &text, &stem(file))
    }

    /// As [`Lab::delete_text`], from a file.
    ///
    /// # Errors
    /// As [`Lab::delete_text`], or the file cannot be read.
    pub fn delete_file(&mut self, cluster: &str, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        self.delete_text(cluster, &text, &stem(file))
    }

    fn change(&mut self, cluster: &str, change: impl FnOnce(&Store, &Record) -> Result<()>) -> Result<()> {
        let names: Vec<&str> = self.record.topology.clusters.iter().map(|c| c.name.as_str()).collect();
        ensure!(names.contains(&cluster), "no cluster {cluster:?}; there are {}", names.join(", "));
        let _lock = Lock::take(&self.record.name)?;
        // Another command may have changed the lab since.
        self.record = Record::load(&self.record.name).context("the lab is gone")?;
        self.record.unfinished = true;
        self.record.save()?;
        let store = Store::open(self.record.manifests(cluster))?;
        change(&store, &self.record)?;
        reconcile(&mut self.record)?;
        self.settled()
    }

    fn settled(&mut self) -> Result<()> {
        self.record.unfinished = false;
        self.record.save()
    }

    /// Starts the agent of a node again (with more arguments, if any) and waits until it is ready; stops it first if it runs.
    ///
    /// # Errors
    /// No such agent, or it does not get ready: the message has its log.
    pub fn restart_agent(&mut self, cluster: &str, node: &str, more: &[&str]) -> Result<Agent> {
        self.restart_agent_as(cluster, node, |args| args.extend(more.iter().map(|arg| (*arg).to_owned())))
    }

    /// The same with other arguments.
    ///
    /// # Errors
    /// As [`Lab::restart_agent`].
    pub fn restart_agent_as(
        &mut self,
        cluster: &str,
        node: &str,
        edit: impl FnOnce(&mut Vec<String>),
    ) -> Result<Agent> {
        let mut agent = self.agent(cluster, node)?;
        agent.stop(Duration::from_secs(10));
        edit(&mut agent.record.args);
        agent.record.pid = agent.start()?;
        let place = self.record.agents.iter_mut().find(|a| a.cluster == cluster && a.node == node);
        *place.context("no such agent")? = agent.record.clone();
        self.record.save()?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the agents that do not run and waits for all.
    fn start_agents(&mut self) -> Result<()> {
        mount_bpffs()?;
        let topology = self.record.topology.clone();
        let nodes = topology.clusters.iter().flat_map(|cluster| cluster.nodes.iter().map(move |node| (cluster, node)));
        for (cluster, node) in nodes.filter(|(_, node)| node.agent) {
            if self.agent(&cluster.name, &node.name).is_err() {
                self.record.agents.push(agent::plan(&self.record, cluster, node)?);
            }
        }
        for i in 0..self.record.agents.len() {
            let agent = Agent { lab: self.record.name.clone(), record: self.record.agents[i].clone() };
            if !process::is_alive(&agent.lab, agent.record.pid) {
                self.record.agents[i].pid = agent.start()?;
                self.record.save()?;
            }
        }
        self.agents().iter().try_for_each(Agent::wait_ready)
    }

    fn write_authorities(&self) -> Result<()> {
        let root = Root::kept_in(&self.record.dir().join("root"), "Underpass lab root")?;
        for cluster in self.record.topology.clusters.iter().filter(|cluster| cluster.cacerts.is_none()) {
            root.write_cacerts(&self.record.cacerts(&cluster.name), &cluster.name)?;
        }
        Ok(())
    }

    /// Prints the end of every agent's log.
    pub fn show_logs(&self) {
        self.agents().iter().for_each(|agent| eprintln!("{}", agent.log_tail(30)));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.down_on_drop {
            return;
        }
        if std::thread::panicking() {
            self.show_logs();
        }
        // Not `down`: a failed `up` still holds the lock.
        if let Err(error) = clean::remove(&self.record.name) {
            eprintln!("lab {}: {error:#}", self.record.name);
        }
    }
}

fn build(agents: bool) -> Result<()> {
    install::build(if agents { &["underpass", "underpass-echo"] } else { &["underpass-echo"] })
}

fn is_as_asked(record: &Record, options: &Options) -> bool {
    !record.unfinished && record.topology == options.topology && record.with_agents == options.agents
}

/// Where pods can read and run it, which a clone below /root is not.
fn copy_echo(dir: &Path) -> Result<()> {
    let from = install::built("underpass-echo");
    let to = dir.join("bin/underpass-echo");
    fs::create_dir_all(dir.join("bin"))?;
    fs::copy(&from, &to).with_context(|| format!("{} (cargo build --release --bin underpass-echo)", from.display()))?;
    Ok(())
}

fn mount_bpffs() -> Result<()> {
    if !clean::is_mounted("/sys/fs/bpf") {
        clean::note_mount("/sys/fs/bpf")?;
        crate::run::run(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))?;
    }
    fs::create_dir_all(clean::PINS).context(clean::PINS)
}

/// A Service gets its addresses before anyone reads it, and keeps those that it had.
fn with_addresses(document: &Document, store: &Store, record: &Record, cluster: &str) -> Document {
    let Some(object) = document.object.as_ref().filter(|object| object.kind == "Service") else {
        return document.clone();
    };
    let mut value = object.value.clone();
    let all = store.all("Service");
    let mut taken: BTreeSet<String> = all.iter().flat_map(|old| service::addresses(&old.value)).collect();
    let before = all.iter().find(|old| old.namespace == object.namespace && old.name == object.name);
    service::keep_addresses(&mut value, before.map(|old| &old.value));
    let number = record.topology.clusters.iter().position(|c| c.name == cluster).unwrap_or(0);
    service::assign_addresses(&mut value, record.plan(), u8::try_from(number).unwrap_or(0), &mut taken);
    if value == object.value { document.clone() } else { document::generated(value) }
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
