//! The record layer against rustls itself, and the stream against a real peer.

use super::*;
use crate::vocab::Alpn;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A pair of configurations that trust each other for the address that tunnels name.
pub(crate) fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["0.0.0.0".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"underpass/1".to_vec()];
    client.enable_secret_extraction = true;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.alpn_protocols = vec![b"underpass/1".to_vec(), b"h2".to_vec()];
    server.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(dial, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

pub(crate) async fn pair() -> (TlsStream, TlsStream) {
    let ((near, far), (client, server)) = (tcp_pair().await, configs());
    let (client, server) = tokio::join!(connect(near, client), accept(far, server, Vec::new()));
    (client.unwrap(), server.unwrap())
}

async fn echo_through(
    mut near: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    mut far: TlsStream,
    len: usize,
) {
    let sent: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
    let echo = async {
        let mut buffer = vec![0; 50_000];
        loop {
            match far.read(&mut buffer).await.unwrap() {
                0 => break,
                read => far.write_all(&buffer[..read]).await.unwrap(),
            }
            far.flush().await.unwrap();
        }
        far.shutdown().await.unwrap();
    };
    let mut received = vec![0; len];
    let talk = async {
        for (out, back) in sent.chunks(100_000).zip(received.chunks_mut(100_000)) {
            near.write_all(out).await.unwrap();
            near.flush().await.unwrap();
            near.read_exact(back).await.unwrap();
        }
        near.shutdown().await.unwrap();
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    };
    tokio::join!(echo, talk);
    assert!(sent == received);
}

#[tokio::test]
async fn megabytes_come_back_as_they_went() {
    let (near, far) = pair().await;
    assert_eq!(near.info().alpn, Some(Alpn::Sessions));
    assert_eq!(near.info().group, "X25519MLKEM768");
    echo_through(near, far, 3_000_001).await;
}

#[tokio::test]
async fn rustls_itself_understands_the_records() {
    let ((near, far), (client, server)) = (tcp_pair().await, configs());
    let connector = tokio_rustls::TlsConnector::from(client);
    let name = ServerName::try_from("0.0.0.0").unwrap();
    let (near, far) = tokio::join!(connector.connect(name, near), accept(far, server, Vec::new()));
    echo_through(near.unwrap(), far.unwrap(), 1_000_000).await;
}

#[tokio::test]
async fn a_key_update_of_the_peer_is_followed() {
    let ((near, far), (client, server)) = (tcp_pair().await, configs());
    let connector = tokio_rustls::TlsConnector::from(client);
    let name = ServerName::try_from("0.0.0.0").unwrap();
    let (near, far) = tokio::join!(connector.connect(name, near), accept(far, server, Vec::new()));
    let mut near = near.unwrap();
    near.get_mut().1.refresh_traffic_keys().unwrap();
    echo_through(near, far.unwrap(), 200_000).await;
}

#[tokio::test]
async fn an_altered_record_ends_the_connection() {
    let ((near, mut relay_near), (mut relay_far, far)) = (tcp_pair().await, tcp_pair().await);
    let (client, server) = configs();
    let relay = async {
        let mut up = vec![0; 100_000];
        let (mut a, mut b) = (true, false);
        while a || !b {
            tokio::select! {
                read = relay_near.read(&mut up) => {
                    let read = read.unwrap();
                    a = read > 0;
                    if !a { break }
                    let last = up[0] == 23 && up[read - 30..read].len() == 30 && read > 5_000;
                    if last { up[read / 2] ^= 1; b = true; }
                    relay_far.write_all(&up[..read]).await.unwrap();
                }
                read = async { let mut down = vec![0; 100_000]; let n = relay_far.read(&mut down).await.unwrap(); down.truncate(n); down } => {
                    if read.is_empty() { break }
                    relay_near.write_all(&read).await.unwrap();
                }
            }
        }
    };
    let talk = async {
        let (near, far) = tokio::join!(connect(near, client), accept(far, server, Vec::new()));
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        near.write_all(&[7; 8_000]).await.unwrap();
        near.flush().await.unwrap();
        let error = far.read(&mut [0; 100]).await.unwrap_err();
        assert!(error.to_string().contains("authentication"), "{error}");
    };
    tokio::select! { () = relay => panic!("the relay ended first"), () = talk => {} }
}

#[test]
fn the_offer_is_read_from_a_client_hello_alone() {
    let (client, _) = configs();
    let name = ServerName::try_from("0.0.0.0").unwrap();
    let mut connection = rustls::ClientConnection::new(client, name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    assert_eq!(offered_alpn(&hello[..40]), None, "more is awaited");
    assert_eq!(offered_alpn(&hello), Some(vec![b"underpass/1".to_vec()]));
    assert_eq!(offered_alpn(b"GET / HTTP/1.1\r\n"), Some(Vec::new()));
    assert_eq!(offered_alpn(b"\x16\x03\x01\xff\xff garbage"), Some(Vec::new()));
}

/// A certificate that one side does not believe: the reason for it, an alert for the other. And bytes that are no TLS.
#[tokio::test]
async fn a_refused_handshake_says_why_on_both_sides() {
    let ((near, far), (client, _), (_, stranger)) = (tcp_pair().await, configs(), configs());
    let (client, server) = tokio::join!(connect(near, client), accept(far, stranger, Vec::new()));
    let (client, server) = (client.err().unwrap().to_string(), server.err().unwrap().to_string());
    assert!(client.contains("invalid peer certificate"), "{client}");
    assert!(server.contains("received fatal alert"), "{server}");

    let ((mut near, far), (_, server)) = (tcp_pair().await, configs());
    near.write_all(b"\x16\x03\x01\x00\x05hello").await.unwrap();
    assert!(matches!(accept(far, server, Vec::new()).await, Err(HandshakeError::Tls(_))));
}
