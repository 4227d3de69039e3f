//! A running `underpass ca`, the API server that it asks, and a client of it that is not ours.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::{Value, json};
use underpass_tests::process::{self, Start};
use underpass_tests::{Lab, Samples, http, install, until};

use crate::pair::SOON;
use crate::python;

const API: &str = "18001";

/// On node east-1.
pub struct Authority {
    /// Where it signs.
    pub address: SocketAddr,
    lab: String,
    netns: String,
    dir: PathBuf,
    cacerts: PathBuf,
    args: Vec<String>,
    pid: u32,
}

impl Authority {
    /// Starts both processes and waits until it is ready.
    pub fn start(lab: &Lab) -> Result<Self> {
        let agent = lab.agent("east", "east-1")?;
        let (dir, address) = (lab.record.dir().join("ca"), SocketAddr::new(IpAddr::V4(agent.record.address), 15012));
        fs::create_dir_all(&dir)?;
        write_tokens(&dir)?;
        let cacerts = lab.record.cacerts("east");
        let at = |port: u16| SocketAddr::new(address.ip(), port).to_string();
        let path = |path: PathBuf| path.display().to_string();
        let words = [
            ("--cluster", "east".to_owned()),
            ("--manifests", path(lab.record.manifests("east"))),
            ("--cacerts", path(cacerts.clone())),
            ("--dns-names", format!("ca.example,{}", address.ip())),
            ("--kube-api", format!("http://127.0.0.1:{API}")),
            ("--kube-api-token", path(dir.join("ca.token"))),
            ("--listen", address.to_string()),
            ("--admin", at(15090)),
            ("--metrics", at(15091)),
            ("--health", at(15092)),
            ("--log-format", "json".to_owned()),
        ];
        let args = words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let (lab_name, netns) = (lab.record.name.clone(), agent.record.netns.clone());
        let mut ca = Self { address, lab: lab_name, netns, dir, cacerts, args, pid: 0 };
        ca.run(&["python3", &path(python::source("kube_api.py")), API, &path(ca.dir.join("tokens.json"))])?;
        ca.start_again()?;
        Ok(ca)
    }

    fn run(&self, words: &[&str]) -> Result<u32> {
        let mut argv = process::node_entry(&self.netns);
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        process::start(&Start { argv, env: Vec::new(), lab: &self.lab, log: &self.dir.join("log"), cwd: "/".into() })
    }

    /// Starts the authority, which was killed.
    pub fn start_again(&mut self) -> Result<()> {
        let program = install::built("underpass").display().to_string();
        let words: Vec<&str> =
            [program.as_str(), "ca"].into_iter().chain(self.args.iter().map(String::as_str)).collect();
        self.pid = self.run(&words)?;
        let health = SocketAddr::new(self.address.ip(), 15092);
        let ready = || http::get(health, "/healthz/ready").is_ok_and(|(status, _)| status == 200).then_some(());
        until("the authority is ready", SOON, ready).with_context(|| self.log())
    }

    /// `kill -9`.
    pub fn kill(&self) {
        process::signal(&self.lab, &[self.pid], Signal::SIGKILL);
        assert!(process::all_gone(&self.lab, &[self.pid], Duration::from_secs(5)));
    }

    /// Lets the agent of a node ask here, with that node's token.
    pub fn adopt(&self, lab: &mut Lab, node: &str, lifetime: Duration) -> Result<()> {
        let token = self.dir.join(format!("{node}.token"));
        let root = self.dir.join("root.pem");
        fs::copy(self.cacerts.join("root-cert.pem"), &root)?;
        lab.restart_agent_as("east", node, |args| {
            let at = args.iter().position(|arg| arg == "--cacerts").unwrap();
            args.drain(at..at + 2);
            let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
            add("--ca-address", self.address.to_string());
            add("--ca-root-cert", root.display().to_string());
            add("--ca-token", token.display().to_string());
            add("--certificate-lifetime", format!("{}s", lifetime.as_secs()));
        })?;
        Ok(())
    }

    /// Agents are to believe these roots of the authority's own certificate.
    pub fn hand_out(&self, roots: &str) -> Result<()> {
        Ok(fs::write(self.dir.join("root.pem"), roots)?)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// A line of its log.
    pub fn logged(&self, message: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = || {
            let lines = self.log();
            let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["message"] == message && fits(line))
        };
        until(&format!("a line {message:?}"), SOON, find).with_context(|| self.log())
    }

    /// `underpass_ca_requests_total` of this result.
    pub fn count(&self, result: &str) -> Result<f64> {
        let (_, page) = http::get(SocketAddr::new(self.address.ip(), 15091), "/metrics")?;
        Ok(Samples::parse(&page).sum("underpass_ca_requests_total", &[("result", result)]))
    }

    /// Asks it by Python's gRPC.
    pub fn ask(&self, question: &Question) -> Result<Value> {
        let mut asked = question.0.clone();
        asked["address"] = json!(self.address.to_string());
        asked["root"] = json!(self.dir.join("root.pem"));
        let mut argv = process::node_entry(&self.netns);
        argv.push(python::interpreter().display().to_string());
        argv.push(python::source("ca_client.py").display().to_string());
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.spawn()?;
        client.stdin.take().context("a pipe")?.write_all(asked.to_string().as_bytes())?;
        let output = client.wait_with_output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// What a caller asks.
pub struct Question(Value);

impl Question {
    /// With a request in PEM.
    pub fn new(csr: &str) -> Self {
        Self(json!({ "csr": csr }))
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0[key] = value.into();
        self
    }

    /// With a service account's token.
    pub fn token(self, token: &str) -> Self {
        self.with("token", token)
    }

    /// For another.
    pub fn identity(self, identity: &str) -> Self {
        self.with("identity", identity)
    }

    /// From another cluster.
    pub fn cluster(self, cluster: &str) -> Self {
        self.with("cluster", cluster)
    }

    /// With a certificate.
    pub fn showing(self, ca: &Authority, chain: &str, key: &str) -> Result<Self> {
        let (shown, secret) = (ca.dir.join("client.pem"), ca.dir.join("client.key"));
        fs::write(&shown, chain)?;
        fs::write(&secret, key)?;
        Ok(self.with("certificate", shown.display().to_string()).with("key", secret.display().to_string()))
    }
}

/// A key and a request for it that claims these names, PEM.
pub fn key_and_csr(names: &[&str]) -> Result<(String, String)> {
    let (key, mut params) = (KeyPair::generate()?, CertificateParams::default());
    params.subject_alt_names =
        names.iter().map(|name| Ok(SanType::URI((*name).try_into()?))).collect::<Result<_, rcgen::Error>>()?;
    Ok((key.serialize_pem(), params.serialize_request(&key)?.pem()?))
}

fn write_tokens(dir: &Path) -> Result<()> {
    let account = |name: &str| format!("system:serviceaccount:{name}");
    let agent = |node: &str| {
        json!({"username": account("istio-system:underpass"), "pod": format!("underpass-{node}"), "node": node,
               "audience": "istio-ca"})
    };
    let tokens = json!({
        "token-of-east-1": agent("east-1"),
        "token-of-east-2": agent("east-2"),
        "token-of-client": {"username": account("default:client"), "pod": "client", "node": "east-1",
                            "audience": "istio-ca"},
        "for-another-audience": {"username": account("istio-system:underpass"), "pod": "underpass-east-1",
                                 "node": "east-1", "audience": "vault"},
    });
    fs::write(dir.join("tokens.json"), tokens.to_string())?;
    fs::write(dir.join("ca.token"), "the-ca-itself\n")?;
    for node in ["east-1", "east-2"] {
        fs::write(dir.join(format!("{node}.token")), format!("token-of-{node}\n"))?;
    }
    Ok(())
}
