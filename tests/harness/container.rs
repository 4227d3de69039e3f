//! What runs in a pod: for each container one process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, chown};
use serde_json::Value;

use crate::process::{self, POD_USER, Start};
use crate::record::{ContainerRecord, PodRecord, Record};
use crate::service::target_port;

/// A pod with everything that its processes are made from.
pub struct Pod<'a> {
    /// The lab.
    pub record: &'a Record,
    /// The pod.
    pub pod: &'a PodRecord,
    /// Its object.
    pub object: &'a Value,
    /// Services whose selector takes it.
    pub services: &'a [Value],
}

impl Pod<'_> {
    /// Starts every container.
    ///
    /// # Errors
    /// A directory cannot be made or a process not started.
    pub fn start(&self) -> Result<Vec<ContainerRecord>> {
        let home = self.home();
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        chown(&home, Some(Uid::from_raw(POD_USER)), Some(Gid::from_raw(POD_USER)))?;
        self.write_ports()?;
        self.containers().iter().map(|container| self.start_container(container, &home)).collect()
    }

    /// Tells the echo application what to listen on; it reads the file again when it changes.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_ports(&self) -> Result<()> {
        let home = self.home();
        let echoing = self.containers().into_iter().filter(|container| self.is_echo(container));
        for (i, container) in echoing.enumerate() {
            let text = self.ports(&container, i == 0).join("\n") + "\n";
            let path = ports_file(&home, name(&container));
            if !fs::read_to_string(&path).is_ok_and(|old| old == text) {
                crate::store::write_whole(&path, text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The TCP ports that the manifest says the pod listens on.
    pub fn declared_ports(&self) -> Vec<u16> {
        let containers = self.containers();
        let waited =
            containers.iter().filter(|container| self.is_echo(container) || self.image_command(container).is_some());
        waited.flat_map(container_ports).map(|(port, _)| port).collect()
    }

    fn home(&self) -> PathBuf {
        self.record.dir().join("pods").join(&self.pod.netns).join(&self.pod.name)
    }

    fn containers(&self) -> Vec<Value> {
        self.object.pointer("/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn start_container(&self, container: &Value, home: &Path) -> Result<ContainerRecord> {
        let command = self.command(container, home);
        let log = self.record.logs().join(format!("{}.{}.log", self.pod.netns, name(container)));
        let mut argv = process::pod_entry(&self.pod.netns);
        argv.extend(command.iter().cloned());
        let start = Start {
            argv,
            env: self.environment(container, home),
            lab: &self.record.name,
            log: &log,
            cwd: home.to_owned(),
        };
        let pid = process::start(&start)?;
        Ok(ContainerRecord { name: name(container).to_owned(), pid, log, command: command.join(" ") })
    }

    fn command(&self, container: &Value, home: &Path) -> Vec<String> {
        if let Some(line) = self.image_command(container) {
            // `"$@"`: the manifest's args follow the image's command, as they follow an entry point.
            let shell = ["sh", "-c", &format!("exec {line} \"$@\""), "sh"].map(str::to_owned);
            return shell.into_iter().chain(strings(&container["args"])).collect();
        }
        if !self.is_echo(container) {
            return strings(&container["command"]).into_iter().chain(strings(&container["args"])).collect();
        }
        let echo = self.record.dir().join("bin/underpass-echo").display().to_string();
        let ports = ports_file(home, name(container)).display().to_string();
        let mut command = vec![echo, "serve".to_owned(), "--ports-file".to_owned(), ports];
        if let Some(prefix) = tcp_echo(container).map(|(_, prefix)| prefix) {
            command.extend(["--prefix".to_owned(), prefix]);
        }
        command
    }

    /// The command that stands for the container's image.
    fn image_command(&self, container: &Value) -> Option<&str> {
        let image = container["image"].as_str().unwrap_or_default();
        let fits = |prefix: &str| {
            let prefix = prefix.trim_end_matches('*');
            image.starts_with(prefix) || image.rsplit('/').next().is_some_and(|last| last.starts_with(prefix))
        };
        self.record.images.iter().find(|(prefix, _)| fits(prefix)).map(|(_, command)| command.as_str())
    }

    // A command of the manifest is taken where this machine has the program (`/bin/sleep`).
    fn is_echo(&self, container: &Value) -> bool {
        let own = strings(&container["command"]);
        self.image_command(container).is_none() && !own.first().is_some_and(|program| is_installed(program))
    }

    fn environment(&self, container: &Value, home: &Path) -> Vec<(String, String)> {
        let at = |pointer: &str| self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut env: Vec<(String, String)> = [
            ("HOME", home.display().to_string()),
            ("HOSTNAME", self.pod.name.clone()),
            ("POD_NAME", self.pod.name.clone()),
            ("POD_NAMESPACE", self.pod.namespace.clone()),
            ("POD_IP", self.pod.v4.to_string()),
            ("POD_IPS", format!("{},{}", self.pod.v4, self.pod.v6)),
            ("NODE_NAME", self.pod.node.clone()),
            ("CLUSTER", self.pod.cluster.clone()),
            ("SERVICE_ACCOUNT", at("/spec/serviceAccountName")),
            ("APP", at("/metadata/labels/app")),
            ("VERSION", at("/metadata/labels/version")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        let own = container["env"].as_array().cloned().unwrap_or_default();
        env.extend(own.iter().filter_map(|e| Some((e["name"].as_str()?.to_owned(), e["value"].as_str()?.to_owned()))));
        env
    }

    fn ports(&self, container: &Value, with_services: bool) -> Vec<String> {
        let mut ports: Vec<(u16, bool)> = container_ports(container);
        let listed = tcp_echo(container).map(|(ports, _)| ports).unwrap_or_default();
        ports.extend(listed.into_iter().map(|port| (port, true)));
        let services = if with_services { self.services } else { &[] };
        for port in services.iter().filter_map(|service| service.pointer("/spec/ports")?.as_array()).flatten() {
            let number = target_port(port, self.object).and_then(|number| u16::try_from(number).ok());
            ports.extend(number.map(|number| (number, is_tcp_name(port))));
        }
        let all_tcp = tcp_echo(container).is_some();
        let mut numbers: Vec<u16> = ports.iter().map(|(port, _)| *port).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let kind = |number: u16| match all_tcp || ports.contains(&(number, true)) {
            true => "tcp",
            false => "http",
        };
        numbers.into_iter().map(|number| format!("{} {number}", kind(number))).collect()
    }
}

fn container_ports(container: &Value) -> Vec<(u16, bool)> {
    let ports = container["ports"].as_array().cloned().unwrap_or_default();
    let tcp = ports.iter().filter(|port| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| Some((u16::try_from(port["containerPort"].as_u64()?).ok()?, is_tcp_name(port)))).collect()
}

// Istio's protocol selection: appProtocol, else what stands before the first dash of the port's name.
fn is_tcp_name(port: &Value) -> bool {
    let name = port["appProtocol"].as_str().or(port["name"].as_str()).unwrap_or_default();
    ["tcp", "mongo", "mysql", "redis"].contains(&name.split('-').next().unwrap_or_default())
}

// Istio's tcp-echo-server: args are ports and a prefix, `[ "9000,9001,9002", "hello" ]`.
fn tcp_echo(container: &Value) -> Option<(Vec<u16>, String)> {
    container["image"].as_str().filter(|image| image.contains("tcp-echo"))?;
    let args = strings(&container["args"]);
    let ports = args.first().into_iter().flat_map(|list| list.split(',')).filter_map(|port| port.parse().ok());
    Some((ports.collect(), args.get(1).cloned().unwrap_or_default()))
}

fn ports_file(home: &Path, container: &str) -> PathBuf {
    home.join(format!("{container}.ports"))
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or("main")
}

fn strings(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
}

fn is_installed(program: &str) -> bool {
    match program.contains('/') {
        true => Path::new(program).exists(),
        false => crate::install::find(program).is_some(),
    }
}
