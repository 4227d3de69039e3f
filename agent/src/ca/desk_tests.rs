//! What the desk answers, with the pods as the API server knows them: the API server is a thread, all else is real.

use super::api::Api;
use super::authorize::Rules;
use super::desk::{Desk, Peer};
use super::metrics::Counts;
use super::pods::Pods;
use super::signer::{Signer, SignerOptions};
use crate::identity::fixture::{HOUR, Mesh, ca, domain};
use crate::identity::protocol::CertificateRequest;
use crate::options::KubeOptions;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tonic::{Code, Request};
use x509_parser::prelude::{FromDer, X509Certificate};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";
const DONE: &str = "spiffe://cluster.local/ns/shop/sa/done";
const AGENT_1: &str = "istio-system:underpass agent-1 node-1";

/// Namespace, name, service account, node, phase.
const PODS: [[&str; 5]; 5] = [
    ["shop", "web-1", "web", "node-1", "Running"],
    ["shop", "done-1", "done", "node-1", "Succeeded"],
    ["shop", "db-1", "db", "node-2", "Pending"],
    ["istio-system", "agent-1", "underpass", "node-1", "Running"],
    ["istio-system", "agent-2", "underpass", "node-2", "Running"],
];

fn pod([namespace, name, account, node, phase]: [&str; 5]) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"serviceAccountName": account, "nodeName": node},
        "status": {"phase": phase},
    })
}

/// What the API server says of a token: `account pod node`, each maybe `-`.
fn user(token: &str) -> Value {
    let words: Vec<&str> = token.split(' ').collect();
    let [account, pod, node] = words[..] else {
        return json!({"status": {"authenticated": false, "error": "token has expired"}});
    };
    let mut extra = json!({});
    for (key, value) in [("pod-name", pod), ("node-name", node)].into_iter().filter(|(_, value)| *value != "-") {
        extra[format!("authentication.kubernetes.io/{key}")] = json!([value]);
    }
    let username = format!("system:serviceaccount:{account}");
    json!({"status": {"authenticated": true, "audiences": ["istio-ca"], "user": {"username": username, "extra": extra}}})
}

fn answer(line: &str, body: &Value) -> Value {
    if line.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews ") {
        assert_eq!(body["spec"]["audiences"], json!(["istio-ca"]));
        return user(body["spec"]["token"].as_str().unwrap());
    }
    if let Some((_, node)) = line.split_once("GET /api/v1/pods?fieldSelector=spec.nodeName%3D") {
        let node = node.split(' ').next().unwrap();
        return json!({"items": PODS.into_iter().filter(|row| row[3] == node).map(pod).collect::<Vec<_>>()});
    }
    let path = line.split(' ').nth(1).unwrap();
    let named = |row: &[&str; 5]| path == format!("/api/v1/namespaces/{}/pods/{}", row[0], row[1]);
    PODS.into_iter().find(named).map_or(Value::Null, pod)
}

fn exchange(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length, mut own) = (String::new(), 0, false);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        own |= header == "authorization: bearer mine";
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = answer(&line, &serde_json::from_slice(&body).unwrap_or_default());
    let status = match (own, answer.is_null()) {
        (false, _) => "401 Unauthorized",
        (true, true) => "404 Not Found",
        (true, false) => "200 OK",
    };
    let text = answer.to_string();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

struct Setup {
    desk: Desk,
    mesh: Mesh,
    cacerts: TempDir,
    _token: TempDir,
}

impl Setup {
    fn new() -> Self {
        let (mesh, token) = (Mesh::new(), tempfile::tempdir().unwrap());
        let cacerts = mesh.cacerts();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let kube_api = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(exchange(stream))));
        let kube_api_token = token.path().join("token");
        std::fs::write(&kube_api_token, "mine\n").unwrap();
        let api = Arc::new(Api::new(KubeOptions { kube_api, kube_api_ca: "none".into(), kube_api_token }));
        let options = SignerOptions {
            cacerts: cacerts.path().to_owned(),
            trust_domain: domain(),
            names: vec!["ca.example".to_owned()],
            max_lifetime: HOUR,
        };
        let pods = Pods::of_api(Arc::clone(&api), domain());
        let trusted = vec![("istio-system".to_owned(), "underpass".to_owned())];
        let desk = Desk {
            cluster: "east".into(),
            rules: Rules { trusted, pods },
            api,
            audience: "istio-ca".to_owned(),
            signer: Arc::new(Signer::open(options, SystemTime::now()).unwrap()),
            counts: Counts::default(),
        };
        Self { desk, mesh, cacerts, _token: token }
    }

    async fn ask(&self, token: &str, request: CertificateRequest) -> Result<Vec<String>, (Code, String)> {
        self.visit(Some(token), Vec::new(), request).await
    }

    async fn visit(
        &self,
        token: Option<&str>,
        chain: Vec<CertificateDer<'static>>,
        request: CertificateRequest,
    ) -> Result<Vec<String>, (Code, String)> {
        let mut request = Request::new(request);
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let answer = self.desk.answer(&Peer { address: "192.0.2.1:1".parse().unwrap(), chain }, request).await;
        answer
            .map(|answer| answer.into_inner().cert_chain)
            .map_err(|status| (status.code(), status.message().to_owned()))
    }

    fn count(&self, result: &str) -> Option<String> {
        let page: String = self.desk.counts.scrape(&self.desk.signer).collect();
        let label = format!("result=\"{result}\"}} ");
        page.lines().find_map(|line| line.split_once(&label).map(|(_, count)| count.to_owned()))
    }
}

fn csr(names: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn asking(id: &str) -> CertificateRequest {
    CertificateRequest::impersonating(csr(&[id]), id.to_owned(), 60)
}

#[tokio::test]
async fn the_api_server_says_which_pods_are_on_an_agents_node() {
    let setup = Setup::new();
    assert_eq!(setup.ask(AGENT_1, asking(WEB)).await.unwrap().len(), 3, "leaf, intermediate, root");
    for gone in [DB, DONE] {
        let (code, said) = setup.ask(AGENT_1, asking(gone)).await.unwrap_err();
        assert_eq!(code, Code::PermissionDenied);
        assert_eq!(said, format!("no pod of `{gone}` is on the caller's node `node-1`"));
    }
    assert!(setup.ask("istio-system:underpass agent-2 node-2", asking(DB)).await.is_ok());
    // Before Kubernetes 1.30 tokens do not name the node: their pod does.
    assert!(setup.ask("istio-system:underpass agent-1 -", asking(WEB)).await.is_ok());
    assert!(setup.ask("istio-system:underpass agent-1 -", asking(DB)).await.is_err());
    for unknown in ["gone -", "agent-2 node-1", "- -", "../../x -"] {
        let (code, said) = setup.ask(&format!("istio-system:underpass {unknown}"), asking(WEB)).await.unwrap_err();
        assert_eq!(code, Code::PermissionDenied, "{unknown}: {said}");
    }
    let counts = ["issued", "not_on_node", "unknown_node"].map(|result| setup.count(result).unwrap_or_default());
    assert_eq!(counts, ["3", "3", "4"]);
}

#[tokio::test]
async fn where_the_api_server_cannot_be_asked_nothing_is_signed() {
    let mut setup = Setup::new();
    let kube_api_token = setup._token.path().join("token");
    let options = KubeOptions { kube_api: "http://127.0.0.1:1".to_owned(), kube_api_ca: "none".into(), kube_api_token };
    let gone = Arc::new(Api::new(options));
    setup.desk.rules.pods = Pods::of_api(Arc::clone(&gone), domain());
    assert_eq!(setup.ask(AGENT_1, asking(WEB)).await.unwrap_err().0, Code::Unavailable);
    assert_eq!(setup.count("pods_unknown").as_deref(), Some("1"));
    setup.desk.api = gone;
    assert_eq!(setup.ask(AGENT_1, asking(WEB)).await.unwrap_err().0, Code::Unavailable);
    assert_eq!(setup.count("review_failed").as_deref(), Some("1"));
}

/// The handshake took it; the connection may be hours old.
#[tokio::test]
async fn a_certificate_counts_for_as_long_as_it_is_good() {
    let setup = Setup::new();
    let cluster = setup.mesh.authority();
    let own = |lifetime, at| cluster.issue(&WEB.parse().unwrap(), lifetime, at).unwrap().chain;
    let (now, itself) = (SystemTime::now(), CertificateRequest { csr: csr(&[]), ..CertificateRequest::default() });
    assert!(setup.visit(None, own(HOUR, now), itself.clone()).await.is_ok());
    let (code, said) = setup.visit(None, own(HOUR, now - 2 * HOUR), itself.clone()).await.unwrap_err();
    assert_eq!((code, said.contains("expired")), (Code::Unauthenticated, true), "{said}");
    let stranger = Mesh::new().identity(&WEB.parse().unwrap()).chain;
    assert_eq!(setup.visit(None, stranger, itself).await.unwrap_err().0, Code::Unauthenticated);
}

#[tokio::test]
async fn a_weak_key_is_refused() {
    let setup = Setup::new();
    let made = |key: &[&str]| {
        let words = [&["req", "-new", "-nodes", "-subj", "/", "-keyout", "/dev/null"], key].concat();
        let output = std::process::Command::new("openssl").args(words).output().unwrap();
        CertificateRequest::impersonating(String::from_utf8(output.stdout).unwrap(), WEB.to_owned(), 60)
    };
    let weak = [
        (made(&["-newkey", "rsa:1024"]), "RSA of 1024 bits"),
        (made(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime192v1"]), "EC of 192 bits"),
    ];
    for (request, text) in weak {
        let (code, said) = setup.ask(AGENT_1, request).await.unwrap_err();
        assert_eq!((code, said.contains(text)), (Code::InvalidArgument, true), "{said}");
    }
    assert_eq!(setup.count("bad_key").as_deref(), Some("2"));
    assert!(setup.ask(AGENT_1, made(&["-newkey", "rsa:2048"])).await.is_ok());
}

#[tokio::test]
async fn no_certificate_lives_longer_than_allowed() {
    let setup = Setup::new();
    for (asked, given) in [(60, 60), (0, 3600), (-5, 3600), (1_000_000, 3600)] {
        let request = CertificateRequest::impersonating(csr(&[WEB]), WEB.to_owned(), asked);
        let chain = setup.ask(AGENT_1, request).await.unwrap();
        let leaf = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let left = leaf.validity().not_after.timestamp().unsigned_abs() - now;
        assert!((given - 30..=given).contains(&left), "asked for {asked}, got {left}");
    }
}

/// Also one that was put there before anybody watched.
#[tokio::test]
async fn another_authority_in_the_directory_signs_and_both_roots_are_given() {
    let setup = Setup::new();
    let signer = Arc::clone(&setup.desk.signer);
    let (dir, old) = (setup.cacerts.path(), setup.mesh.root_pem());
    let new = Mesh::new();
    new.write_cacerts(dir, ca("new intermediate"), &KeyPair::generate().unwrap());
    std::fs::write(dir.join("root-cert.pem"), format!("{}{old}", new.root_pem())).unwrap();
    let keeper = tokio::spawn(async move { signer.keep_fresh().await });
    let both = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let chain = setup.ask(AGENT_1, asking(WEB)).await.unwrap();
            if CertificateDer::pem_slice_iter(chain.last().unwrap().as_bytes()).count() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    both.await.expect("the new authority never came into force");
    keeper.abort();
}
