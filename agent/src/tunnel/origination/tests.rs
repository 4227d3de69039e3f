//! TLS to servers with certificates of all kinds.

use super::*;
use crate::model::traffic_policy::{CertificateSource, ClientTlsMode, Roots, SubjectName};
use crate::model::{CredentialKind, ObjectId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use std::collections::HashMap as Map;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsAcceptor;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key in PEM.
    fn issue(&self, dns: &[&str], uri: &[&str]) -> (String, String) {
        let mut params = CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uri.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn id(name: &str) -> ObjectId {
    ObjectId { namespace: "shop".into(), name: name.into() }
}

fn credential(entries: &[(&str, &str)]) -> Arc<Credential> {
    let entries = entries.iter().map(|(name, pem)| ((*name).into(), pem.as_bytes().into()));
    Arc::new(Credential::new(entries).unwrap())
}

fn secret(name: &str) -> CredentialId {
    CredentialId { kind: CredentialKind::Secret, id: id(name) }
}

/// A client of `shop/ca`'s authority.
fn simple() -> ClientTls {
    ClientTls { mode: ClientTlsMode::Simple, roots: Roots::Secret(id("ca")), ..ClientTls::default() }
}

/// A handshake of this client with a server that shows a certificate; what came through, or why nothing did.
async fn speak(
    tls: &ClientTls,
    inside: Inside,
    known: &Map<CredentialId, Arc<Credential>>,
    (certificate, key): &(String, String),
    clients: Option<&Authority>,
) -> Result<String, String> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.0.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut server = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (near, far) = duplex(1 << 16);
    let serve = async {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await.ok()?;
        let asked = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
        let _ = stream.write_all(asked.as_bytes()).await;
        let _ = stream.shutdown().await;
        Some(())
    };
    let originator = Originator::default();
    let find = |id: &CredentialId| known.get(id).cloned();
    let ask = async {
        let connected = originator.connect((tls, "db.shop.svc.cluster.local", inside), &find, near).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        Ok(text)
    };
    tokio::join!(ask, serve).0
}

#[tokio::test]
async fn the_server_must_have_the_name_of_the_host_or_the_one_that_the_rule_names() {
    let authority = Authority::new();
    let known = Map::from([(secret("ca"), credential(&[("ca.crt", &authority.0.pem())]))]);
    let host = "db.shop.svc.cluster.local";
    let dns = |name: &str| SubjectName::Dns(name.into());
    let uri = |name: &str| SubjectName::Uri(name.into());
    for (sni, names, certificate, expected) in [
        (None, vec![], authority.issue(&[host], &[]), Ok(host)),
        (None, vec![], authority.issue(&["other"], &[]), Err("NotValidForName")),
        (Some("a.b.example"), vec![], authority.issue(&["*.b.example"], &[]), Ok("a.b.example")),
        (Some("a.example"), vec![dns("b.example")], authority.issue(&["b.example"], &[]), Ok("a.example")),
        (Some("a.example"), vec![dns("b.example")], authority.issue(&["a.example"], &[]), Err("NotValidForName")),
        (None, vec![uri("spiffe://x/ns/a/sa/b")], authority.issue(&[], &["spiffe://x/ns/a/sa/b"]), Ok(host)),
        (
            None,
            vec![uri("spiffe://x/ns/a/sa/b")],
            authority.issue(&[host], &["spiffe://x/ns/a/sa/c"]),
            Err("NotValidForName"),
        ),
        (None, vec![], Authority::new().issue(&[host], &[]), Err("InvalidSignature")),
    ] {
        let tls = ClientTls { sni: sni.map(Into::into), names: names.clone(), ..simple() };
        let spoken = speak(&tls, Inside::Bytes, &known, &certificate, None).await;
        match expected {
            Ok(asked) => assert_eq!(spoken.as_deref(), Ok(asked), "{sni:?} {names:?}"),
            Err(why) => assert!(spoken.clone().unwrap_err().contains(why), "{sni:?} {names:?}: {spoken:?}"),
        }
    }
    let insecure = ClientTls { insecure: true, ..simple() };
    let stranger = Authority::new().issue(&["other"], &[]);
    assert_eq!(speak(&insecure, Inside::Bytes, &Map::new(), &stranger, None).await.as_deref(), Ok(host));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_rule_says_so() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.issue(&["client"], &[]);
    let pair = credential(&[("tls.crt", &certificate), ("tls.key", &key)]);
    let roots = credential(&[("cacert", &servers.0.pem())]);
    // As Istio's gateways have it: the authorities in a Secret of their own.
    let known = Map::from([(secret("own"), pair), (secret("own-cacert"), roots)]);
    let mutual = ClientTls {
        mode: ClientTlsMode::Mutual,
        roots: Roots::Secret(id("own")),
        certificate: Some(CertificateSource::Secret(id("own"))),
        ..ClientTls::default()
    };
    let server = servers.issue(&["db.shop.svc.cluster.local"], &[]);
    let spoken = speak(&mutual, Inside::Http1, &known, &server, Some(&clients)).await;
    assert_eq!(spoken.as_deref(), Ok("db.shop.svc.cluster.local"));
    let nothing = ClientTls { mode: ClientTlsMode::Simple, certificate: None, ..mutual.clone() };
    assert!(speak(&nothing, Inside::Http1, &known, &server, Some(&clients)).await.is_err());
    let lost = speak(&mutual, Inside::Http1, &Map::new(), &server, Some(&clients)).await.unwrap_err();
    assert!(lost.contains("neither Secret shop/own nor Secret shop/own-cacert"), "{lost}");
}

#[tokio::test]
async fn what_is_missing_ends_in_no_connection() {
    let authority = Authority::new();
    let server = authority.issue(&["db.shop.svc.cluster.local"], &[]);
    for (tls, why) in [
        (ClientTls { roots: Roots::File("/nowhere/ca.pem".into()), ..simple() }, "/nowhere/ca.pem"),
        (ClientTls { crl: Some("/nowhere/crl.pem".into()), insecure: true, ..simple() }, "/nowhere/crl.pem"),
        (ClientTls { mode: ClientTlsMode::Mutual, insecure: true, ..simple() }, "no client certificate"),
        (ClientTls { roots: Roots::ConfigMap(id("ca")), ..simple() }, "ConfigMap shop/ca is not there"),
        (ClientTls { sni: Some("not a name".into()), insecure: true, ..simple() }, "not a name that TLS can ask for"),
    ] {
        let failed = speak(&tls, Inside::Bytes, &Map::new(), &server, None).await.unwrap_err();
        assert!(failed.contains(why), "{failed}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_only_with_a_server_that_has_it() {
    let authority = Authority::new();
    let server = authority.issue(&["db.shop.svc.cluster.local"], &[]);
    let insecure = ClientTls { insecure: true, ..simple() };
    assert!(speak(&insecure, Inside::Http2, &Map::new(), &server, None).await.is_err());
    assert!(speak(&insecure, Inside::Http1, &Map::new(), &server, None).await.is_ok());
}
