//! HBONE against a peer that shares no code with us: Python's `ssl` and its `h2` package, on loopback.
//!
//! Needs python3 with venv and the package index; the environment is kept in `target/`.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;
use underpass::identity::{self, Authority, Identity, Trust, TrustOptions, VerifiedPeer};
use underpass::tunnel::hbone::{Baggage, Connect, Incoming, OpenError, Pool, PoolKey, Refusal, Stream, serve};
use underpass::tunnel::tls::{self, TlsStream};
use underpass::vocab::{Alpn, SpiffeId, TrustDomain};

use crate::python;

const PYTHON: &str = "spiffe://cluster.local/ns/interop/sa/python";
const RUST: &str = "spiffe://cluster.local/ns/interop/sa/rust";
const PATIENCE: Duration = Duration::from_secs(20);

/// A `cacerts` directory, and below it what the Python side shows.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let key_pem = key.serialize_pem();
        let cluster = CertifiedIssuer::signed_by(ca("cluster"), key, &root).unwrap();
        let python = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(PYTHON.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&python, &cluster).unwrap();
        for (file, text) in [
            ("root-cert.pem", root.pem()),
            ("ca-cert.pem", cluster.pem()),
            ("ca-key.pem", key_pem),
            ("cert-chain.pem", cluster.pem() + &root.pem()),
            ("python-cert.pem", leaf.pem() + &cluster.pem()),
            ("python-key.pem", python.serialize_pem()),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        Self { dir }
    }

    fn identity(&self) -> Identity {
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let domain = TrustDomain::from("cluster.local");
        let authority = Authority::load(self.dir.path(), &domain, now).unwrap();
        let trust = Arc::new(Trust::open(TrustOptions::new(domain), identity::tls::provider()).unwrap());
        trust.set_roots(authority.roots()).unwrap();
        let (id, key) = (RUST.parse().unwrap(), identity::issue::new_key().unwrap());
        let (chain, _) = authority.certify(&id, &key, hour, now).unwrap();
        Identity::new(&id, chain, &key, &trust).unwrap()
    }

    /// A script of the Python peer with these certificates.
    fn python(&self, script: &str) -> Command {
        let file = |name: &str| self.dir.path().join(name);
        let mut command = Command::new(python::interpreter());
        command
            .arg(python::source(script))
            .arg("--cert")
            .arg(file("python-cert.pem"))
            .arg("--key")
            .arg(file("python-key.pem"))
            .arg("--root")
            .arg(file("root-cert.pem"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// The Python server and what it says.
struct PythonServer {
    _process: Child,
    says: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl PythonServer {
    async fn start(certificates: &Certificates, arguments: &[&str]) -> Self {
        let mut command = certificates.python("hbone_server.py");
        command.args(["--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self { _process: process, says, address: "127.0.0.1:0".parse().unwrap() };
        server.address = server.event("listening").await["address"].as_str().unwrap().parse().unwrap();
        server
    }

    async fn event(&mut self, name: &str) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.says.next_line()).await.expect("it says something in time");
        let event: Value = serde_json::from_str(&line.unwrap().expect("it still runs")).unwrap();
        assert_eq!(event["event"], name, "{event}");
        event
    }
}

async fn dial(identity: &Identity, address: SocketAddr) -> Result<TlsStream, tls::HandshakeError> {
    let io = TcpStream::connect(address).await?;
    let tls = tls::connect(io, identity.client_hbone.clone()).await?;
    assert_eq!(tls.info().alpn, Some(Alpn::Hbone));
    let peer = VerifiedPeer::from_certificates(&tls.info().peer_certificates).unwrap();
    peer.expect(&PYTHON.parse().unwrap()).unwrap();
    Ok(tls)
}

fn key(address: SocketAddr) -> PoolKey {
    PoolKey {
        source: RUST.parse().unwrap(),
        source_address: "127.0.0.1".parse().unwrap(),
        destination: PYTHON.parse().unwrap(),
        address,
    }
}

fn request() -> Connect {
    let mut connect = Connect::new("127.0.0.1:8080".parse().unwrap());
    connect.forwarded_for = Some("10.0.0.9".parse().unwrap());
    connect.baggage = Baggage { cluster: Some("east".into()), service: Some("web".into()), ..Baggage::default() };
    connect
}

async fn echoed(stream: Stream, text: &'static [u8]) {
    let (mut read, mut write) = stream.into_split();
    let sending = async {
        write.send_all(text.into()).await.unwrap();
        write.finish().unwrap();
    };
    let mut heard = Vec::new();
    let echo = async { tokio::join!(sending, read.read_to_end(&mut heard)).1.unwrap() };
    tokio::time::timeout(PATIENCE, echo).await.expect("it comes back in time");
    assert!(heard == text, "{} bytes came back of {}", heard.len(), text.len());
}

/// Large enough for every flow-control window to fill and be given back.
const MUCH: usize = 10 << 20;
static MUCH_TEXT: [u8; MUCH] = [b'x'; MUCH];

#[tokio::test]
async fn our_client_tunnels_through_a_python_server() {
    let certificates = Certificates::new();
    let identity = certificates.identity();
    let mut server = PythonServer::start(&certificates, &["--echo", "--expect", RUST]).await;
    let (pool, key) = (Pool::default(), key(server.address));
    let first = pool.open(&key, &request(), || dial(&identity, key.address)).await.unwrap();
    echoed(first.stream, b"hello").await;
    let second = pool.open(&key, &request(), || dial(&identity, key.address)).await.unwrap();
    assert!(second.reused);
    echoed(second.stream, &MUCH_TEXT).await;
    let session = server.event("session").await;
    assert_eq!((&session["peer"], &session["alpn"], &session["tls"]), (&RUST.into(), &"h2".into(), &"TLSv1.3".into()));
    let connect = server.event("connect").await;
    assert_eq!(connect["method"], "CONNECT");
    assert_eq!(connect["authority"], "127.0.0.1:8080");
    assert_eq!(connect["headers"]["forwarded"], "for=10.0.0.9");
    assert_eq!(connect["headers"]["baggage"], "k8s.cluster.name=east,service.name=web");
    assert_eq!(server.event("end").await["received"], 5);
    server.event("connect").await;
    assert_eq!(server.event("end").await["received"], MUCH);
}

#[tokio::test]
async fn a_python_server_refuses_and_we_know_why() {
    let certificates = Certificates::new();
    let identity = certificates.identity();
    for (arguments, expected) in [
        (["--expect", "spiffe://cluster.local/ns/interop/sa/other"], Refusal::Denied),
        (["--status", "503"], Refusal::Unreachable),
        (["--status", "400"], Refusal::BadRequest),
    ] {
        let server = PythonServer::start(&certificates, &arguments).await;
        let key = key(server.address);
        let refused = Pool::default().open(&key, &request(), || dial(&identity, key.address)).await.err().unwrap();
        assert!(matches!(refused, OpenError::Refused(seen) if seen == expected), "{refused}");
    }
}

#[tokio::test]
async fn after_a_python_servers_goaway_a_new_session_is_dialled() {
    let certificates = Certificates::new();
    let identity = certificates.identity();
    let mut server = PythonServer::start(&certificates, &["--echo", "--goaway-after", "1"]).await;
    let (pool, key) = (Pool::default(), key(server.address));
    let first = pool.open(&key, &request(), || dial(&identity, key.address)).await.unwrap();
    server.event("session").await;
    server.event("connect").await;
    let second = pool.open(&key, &request(), || dial(&identity, key.address)).await.unwrap();
    server.event("session").await;
    echoed(second.stream, b"hello").await;
    drop(first);
}

/// Our server: echoes for the peer that is expected, and tells what it was asked.
async fn accept(identity: Arc<Identity>, listener: TcpListener, asked: tokio::sync::mpsc::UnboundedSender<Connect>) {
    loop {
        let (io, _) = listener.accept().await.unwrap();
        let Ok(tls) = tls::accept(io, identity.server.clone(), Vec::new()).await else { continue };
        let peer = VerifiedPeer::from_certificates(&tls.info().peer_certificates).unwrap();
        assert_eq!(peer.id(), &PYTHON.parse::<SpiffeId>().unwrap());
        let asked = asked.clone();
        let respond = move |incoming: Incoming| answer(incoming, asked.clone());
        tokio::spawn(serve(tls, Arc::new(respond), CancellationToken::new()));
    }
}

async fn answer(incoming: Incoming, asked: tokio::sync::mpsc::UnboundedSender<Connect>) {
    let _ = asked.send(incoming.connect.clone());
    if incoming.connect.target != "127.0.0.1:8080".parse().unwrap() {
        return incoming.refuse(Refusal::BadRequest);
    }
    let baggage = Baggage { service: Some("rust".into()), ..Baggage::default() };
    let Ok(stream) = incoming.accept(&baggage) else { return };
    let (mut read, mut write) = stream.into_split();
    while let Ok(Some(bytes)) = read.bytes().await {
        if write.send_all(bytes).await.is_err() {
            return;
        }
    }
    let _ = write.finish();
}

async fn python_client(certificates: &Certificates, address: SocketAddr, arguments: &[&str]) -> Value {
    let mut command = certificates.python("hbone_client.py");
    command.arg("--json").arg("--connect").arg(address.to_string()).args(arguments);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends in time").unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn a_python_client_tunnels_through_our_server() {
    let certificates = Certificates::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, mut questions) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(accept(Arc::new(certificates.identity()), listener, asked));

    let headers = ["--header", "baggage=k8s.cluster.name=west", "--header", "forwarded=for=10.0.0.7"];
    let hello = [&["--authority", "127.0.0.1:8080", "--send", "hello", "--expect", RUST][..], &headers].concat();
    let seen = python_client(&certificates, address, &hello).await;
    assert_eq!(seen["received"], "hello", "{seen}");
    assert_eq!((&seen["peer"], &seen["alpn"], &seen["tls"]), (&RUST.into(), &"h2".into(), &"TLSv1.3".into()));
    assert_eq!(seen["headers"]["baggage"], "service.name=rust");
    let asked = questions.recv().await.unwrap();
    assert_eq!(asked.baggage.cluster, Some("west".into()));
    assert_eq!(asked.forwarded_for, Some("10.0.0.7".parse().unwrap()));

    let much = ["--authority", "127.0.0.1:8080", "--send", "0123456789abcdef", "--repeat", "65536", "--streams", "8"];
    let seen = python_client(&certificates, address, &much).await;
    assert_eq!(seen["received"].as_str().map(str::len), Some(1 << 20), "{}", seen["error"]);

    for arguments in [["--authority", "127.0.0.1:9", "--method", "CONNECT"], ["--authority", "x", "--method", "GET"]] {
        let seen = python_client(&certificates, address, &arguments).await;
        assert_eq!(seen["status"], 400, "{seen}");
    }
    server.abort();
}

#[tokio::test]
async fn strangers_are_refused_by_either_side() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, _questions) = tokio::sync::mpsc::unbounded_channel();
    let identity = Arc::new(ours.identity());
    let server = tokio::spawn(accept(identity.clone(), listener, asked));
    let seen = python_client(&theirs, address, &["--authority", "127.0.0.1:8080"]).await;
    assert!(seen["status"].is_null() && seen["error"].as_str().is_some_and(|error| error.contains("SSL")), "{seen}");
    server.abort();

    let server = PythonServer::start(&theirs, &["--echo"]).await;
    let io = TcpStream::connect(server.address).await.unwrap();
    let error = tls::connect(io, identity.client_hbone.clone()).await.err().unwrap().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
}
