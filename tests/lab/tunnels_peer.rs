//! A pod of somebody else's mesh: un-enrolled, marked as Istio's ztunnel marks it, its HBONE spoken by Python.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::Value;
use underpass_tests::{Lab, process, until};

use crate::python;
use crate::scene::{Pod, SOON, answering, ask, http, service};

const POD: &str = "east/default/py";
const OURS: &str = "east/default/client-u1";

/// The pod and its Service.
pub fn scene() -> String {
    let pod = Pod { name: "py", app: "py", version: "v1", node: "z1", container: http(8080) }.text();
    service("py", "http", 8080)
        + &pod.replace("{name: py, labels", "{name: py, annotations: {ambient.istio.io/redirection: enabled}, labels")
}

/// Our agent opens tunnels to a Python server, which leads them to the pod's application.
pub fn as_client(lab: &mut Lab) {
    let pod = lab.pod(POD).unwrap().clone();
    let mut server = Server::start(lab, "py");
    answering(lab, OURS, "http://py:8080/");
    let answer = ask(lab, OURS, "http://py:8080/through");
    assert_eq!((&answer["pod"], &answer["path"]), (&"py".into(), &"/through".into()), "{answer:#}");
    let session = server.event("session");
    assert_eq!(session["peer"], "spiffe://cluster.local/ns/default/sa/client-u1", "{session:#}");
    assert_eq!((&session["alpn"], &session["tls"]), (&"h2".into(), &"TLSv1.3".into()));
    let connect = server.event("connect");
    assert_eq!((&connect["method"], &connect["status"]), (&"CONNECT".into(), &200.into()), "{connect:#}");
    assert_eq!(connect["authority"], SocketAddr::new(pod.v4.into(), 8080).to_string());
    let source = lab.pod(OURS).unwrap().v4;
    assert_eq!(connect["headers"]["forwarded"], format!("for={source}"), "{connect:#}");
    let baggage = connect["headers"]["baggage"].as_str().unwrap();
    assert!(baggage.contains("k8s.cluster.name=east") && baggage.contains("k8s.namespace.name=default"), "{baggage}");
    let line = logged(lab, "connection complete");
    assert_eq!((&line["tunnel"], &line["security"]), (&"hbone".into(), &"mutual_tls".into()), "{line:#}");
    assert_eq!(line["dst.identity"], "spiffe://cluster.local/ns/default/sa/py", "{line:#}");
}

/// The peer on 15008 must be who the destination workload is.
pub fn stranger(lab: &mut Lab) {
    let _server = Server::start(lab, "somebody");
    let failed =
        || (!lab.exec(OURS, &["curl", "-s", "-m", "5", "http://py:8080/"]).unwrap().status.success()).then_some(());
    until("refused", SOON, failed).unwrap();
    let line = logged(lab, "connection failed");
    let error = line["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("/sa/somebody") && error.contains("/sa/py"), "{line:#}");
}

/// A Python client reaches the application of our pod through our agent's 15008, and nobody else's.
pub fn as_server(lab: &mut Lab) {
    let lines = lab.pod("east/default/lines-u1").unwrap().v4;
    let (port, application) = (format!("{lines}:15008"), format!("{lines}:9000"));
    let mut command = peer(lab, "hbone_client.py", "py");
    command.args(["--json", "--connect", &port, "--authority", &application]);
    command.args(["--expect", "spiffe://cluster.local/ns/default/sa/lines-u1", "--send", "from python\n"]);
    let output = command.output().unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&seen["status"], &seen["error"]), (&200.into(), &Value::Null), "{seen:#}");
    assert_eq!(seen["received"], "u1 from python\n", "{seen:#}");
    let agent = lab.agent("east", "u1").unwrap();
    let about = |line: &Value| line["direction"] == "inbound" && line["src.workload"] == "py";
    let line = until("a line", SOON, || agent.access_log().into_iter().rev().find(about)).unwrap();
    assert_eq!((&line["tunnel"], &line["security"]), (&"hbone".into(), &"mutual_tls".into()), "{line:#}");
    assert_eq!(line["src.identity"], "spiffe://cluster.local/ns/default/sa/py", "{line:#}");
    let client: SocketAddr = line["src.addr"].as_str().unwrap().parse().unwrap();
    assert_eq!(client.ip(), lab.pod(POD).unwrap().v4, "{line:#}");
}

/// The newest such line of our client about the pod.
fn logged(lab: &Lab, message: &str) -> Value {
    let agent = lab.agent_of(OURS).unwrap();
    let about = |line: &Value| line["message"] == message && line["dst.workload"] == "py";
    until(message, SOON, || agent.access_log().into_iter().rev().find(about)).unwrap()
}

/// A Python program in the pod's network, with a certificate of that service account from the cluster's CA.
fn peer(lab: &Lab, script: &str, account: &str) -> Command {
    let dir = certificate(lab, account);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.pod(POD).unwrap().netns]).arg(python::interpreter());
    command.arg(python::source(script)).arg("--cert").arg(dir.join("cert.pem")).arg("--key").arg(dir.join("key.pem"));
    command.arg("--root").arg(dir.join("root.pem")).env(process::MARK, &lab.record.name).stdin(Stdio::null());
    command
}

fn certificate(lab: &Lab, account: &str) -> PathBuf {
    let ca = lab.record.cacerts("east");
    let read = |name: &str| fs::read_to_string(ca.join(name)).unwrap();
    let issuer =
        Issuer::from_ca_cert_pem(&read("ca-cert.pem"), KeyPair::from_pem(&read("ca-key.pem")).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = format!("spiffe://cluster.local/ns/default/sa/{account}");
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    let dir = lab.record.dir().join(format!("peer-{account}"));
    fs::create_dir_all(&dir).unwrap();
    for (file, text) in [
        ("cert.pem", leaf + &read("ca-cert.pem")),
        ("key.pem", key.serialize_pem()),
        ("root.pem", read("root-cert.pem")),
    ] {
        fs::write(dir.join(file), text).unwrap();
    }
    dir
}

/// The Python server on the pod's 15008.
struct Server {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Server {
    fn start(lab: &Lab, account: &str) -> Self {
        let listen = format!("{}:15008", lab.pod(POD).unwrap().v4);
        let mut command = peer(lab, "hbone_server.py", account);
        let mut process = command.args(["--listen", &listen]).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        let mut server = Self { process, says };
        server.event("listening");
        server
    }

    /// The next event of that name.
    fn event(&mut self, name: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.says.read_line(&mut line).unwrap() > 0, "it ended before {name:?}");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
