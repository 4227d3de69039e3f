//! What an operator reads when a `cacerts` directory is wrong, and what a right one issues.

use super::fixture::{HOUR, Mesh, ca, domain, id};
use super::issue::new_key;
use super::{Authority, IssueError, OriginOptions, Store, StoreOptions, TrustOptions};
use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{self, EcdsaKeyPair};
use rcgen::KeyPair;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

fn complaint(dir: &Path) -> String {
    let error = Authority::load(dir, &domain(), SystemTime::now()).unwrap_err().to_string();
    error.replace(&format!("{}/", dir.display()), "")
}

#[test]
fn a_workload_certificate_looks_as_istio_writes_it() {
    let now = SystemTime::now();
    let identity = Mesh::new().authority().issue(&id("shop", "web"), 24 * HOUR, now).unwrap();
    assert_eq!(identity.chain.len(), 2, "leaf and intermediate, no root");
    let (_, leaf) = X509Certificate::from_der(&identity.chain[0]).unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    assert!(!leaf.is_ca());
    // Certificates count seconds.
    let backdated = now.duration_since(identity.validity.not_before).unwrap();
    assert_eq!(backdated.as_secs(), 120);
    assert_eq!((now + 24 * HOUR).duration_since(identity.not_after()).unwrap().as_secs(), 0);
}

#[test]
fn a_certificate_ends_with_its_authority() {
    let (mesh, dir) = (Mesh::new(), tempfile::tempdir().unwrap());
    let mut params = ca("short");
    params.not_after = (SystemTime::now() + HOUR).into();
    mesh.write_cacerts(dir.path(), params, &KeyPair::generate().unwrap());
    let authority = Authority::load(dir.path(), &domain(), SystemTime::now()).unwrap();
    let key = new_key().unwrap();
    let (_, validity) = authority.certify(&id("a", "a"), &key, 24 * HOUR, SystemTime::now()).unwrap();
    assert_eq!(validity.not_after, authority.not_after());
    let late = authority.certify(&id("a", "a"), &key, HOUR, SystemTime::now() + 2 * HOUR).unwrap_err();
    assert!(matches!(late, IssueError::AuthorityExpired), "{late}");
}

#[test]
fn the_file_that_is_wrong_is_named() {
    let mesh = Mesh::new();
    let dir = mesh.cacerts();
    let dir = dir.path();
    let good = fs::read(dir.join("ca-cert.pem")).unwrap();
    fs::remove_file(dir.join("ca-cert.pem")).unwrap();
    assert_eq!(complaint(dir), "ca-cert.pem: cannot be read: No such file or directory (os error 2)");
    fs::write(dir.join("ca-cert.pem"), "hello").unwrap();
    assert_eq!(complaint(dir), "ca-cert.pem: holds no certificate");
    fs::write(dir.join("ca-cert.pem"), &good).unwrap();
    fs::write(dir.join("ca-key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert_eq!(complaint(dir), "ca-key.pem: does not match the certificate in ca-cert.pem");
    fs::write(dir.join("ca-key.pem"), "no key").unwrap();
    assert!(complaint(dir).starts_with("ca-key.pem: holds no private key that is understood"), "{}", complaint(dir));
}

#[test]
fn authorities_out_of_date_are_refused() {
    let (mesh, dir) = (Mesh::new(), tempfile::tempdir().unwrap());
    let mut params = ca("old");
    params.not_after = (SystemTime::now() - HOUR).into();
    mesh.write_cacerts(dir.path(), params, &KeyPair::generate().unwrap());
    assert!(
        complaint(dir.path()).starts_with("ca-cert.pem: certificate `CN=old` expired "),
        "{}",
        complaint(dir.path())
    );
    let mut params = ca("new");
    params.not_before = (SystemTime::now() + HOUR).into();
    mesh.write_cacerts(dir.path(), params, &KeyPair::generate().unwrap());
    assert!(complaint(dir.path()).contains("is not valid before"), "{}", complaint(dir.path()));
}

#[test]
fn a_leaf_is_no_authority_and_a_foreign_root_no_chain() {
    let (mesh, dir) = (Mesh::new(), tempfile::tempdir().unwrap());
    let mut params = ca("leaf");
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    mesh.write_cacerts(dir.path(), params, &KeyPair::generate().unwrap());
    assert_eq!(complaint(dir.path()), "ca-cert.pem: certificate `CN=leaf` is not a CA: it may not sign");
    let (near, far) = (mesh.cacerts(), Mesh::new().cacerts());
    fs::copy(far.path().join("root-cert.pem"), near.path().join("root-cert.pem")).unwrap();
    let complaint = complaint(near.path());
    assert!(complaint.starts_with("cert-chain.pem: does not lead from ca-cert.pem to root-cert.pem"), "{complaint}");
}

/// As `openssl genpkey` (PKCS#8), `openssl ecparam -genkey` (SEC1) and `openssl genrsa -traditional` (PKCS#1) write them.
#[test]
fn keys_of_every_common_kind_and_encoding_sign() {
    let curves = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, &signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &signature::ECDSA_P384_SHA384_ASN1_SIGNING),
    ];
    for (algorithm, signing) in curves {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, &key.serialize_der()).unwrap();
        let sec1: EcPrivateKeyRfc5915Der = pair.private_key().as_der().unwrap();
        signs(&key, "EC PRIVATE KEY", sec1.as_ref());
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    // PKCS#8 of an RSA key is PKCS#1 behind 26 bytes: two headers, a version and the algorithm.
    signs(&key, "RSA PRIVATE KEY", &key.serialize_der()[26..]);
}

fn signs(key: &KeyPair, label: &str, other: &[u8]) {
    let (mesh, dir) = (Mesh::new(), tempfile::tempdir().unwrap());
    mesh.write_cacerts(dir.path(), ca("any"), key);
    Authority::load(dir.path(), &domain(), SystemTime::now()).unwrap();
    let other = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(other));
    fs::write(dir.path().join("ca-key.pem"), other).unwrap();
    Authority::load(dir.path(), &domain(), SystemTime::now()).unwrap_or_else(|error| panic!("{label}: {error}"));
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quartet = |chunk: &[u8]| {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | usize::from(*chunk.get(i).unwrap_or(&0)));
        let letter = move |i: usize| char::from(ALPHABET[bits >> (18 - 6 * i) & 63]);
        (0..4).map(|i| if i <= chunk.len() { letter(i) } else { '=' }).collect::<String>()
    };
    bytes.chunks(48).map(|line| line.chunks(3).map(quartet).collect::<String>()).collect::<Vec<_>>().join("\n")
}

fn options(dir: &Path, lifetime: Duration) -> StoreOptions {
    StoreOptions { origin: OriginOptions::Local(dir.to_owned()), trust: TrustOptions::new(domain()), lifetime }
}

#[tokio::test]
async fn an_identity_is_signed_once_and_forgotten_when_unwanted() {
    let dir = Mesh::new().cacerts();
    let store = Store::open(options(dir.path(), HOUR)).unwrap();
    let first = store.of(&id("shop", "web")).await.unwrap();
    assert!(Arc::ptr_eq(&first, &store.of(&id("shop", "web")).await.unwrap()));
    store.of(&id("shop", "cart")).await.unwrap();
    store.keep(&[id("shop", "cart")].into());
    assert_eq!(store.list().len(), 1);
    let foreign = "spiffe://elsewhere/ns/a/sa/b".parse().unwrap();
    let refused = store.of(&foreign).await.unwrap_err();
    assert!(matches!(*refused, IssueError::ForeignTrustDomain { .. }), "{refused}");
    // What has just failed is not tried again for every connection.
    assert!(Arc::ptr_eq(&refused, &store.of(&foreign).await.unwrap_err()));
    assert_eq!(store.counts().into_iter().collect::<Vec<_>>(), [("foreign_trust_domain", 1), ("ok", 2)]);
}

async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it did not happen within 5 s");
}

#[tokio::test]
async fn certificates_are_renewed_at_half_life() {
    let dir = Mesh::new().cacerts();
    let store = Store::open(options(dir.path(), Duration::from_secs(3))).unwrap();
    let fresh = tokio::spawn({
        let store = store.clone();
        async move { store.keep_fresh().await }
    });
    let first = store.of(&id("shop", "web")).await.unwrap();
    until(|| store.list()[0].not_after() > first.not_after()).await;
    fresh.abort();
}

#[tokio::test]
async fn a_new_intermediate_is_taken_and_a_bad_one_is_not() {
    let (mesh, dir) = (Mesh::new(), tempfile::tempdir().unwrap());
    mesh.write_cacerts(dir.path(), ca("first"), &KeyPair::generate().unwrap());
    let store = Store::open(options(dir.path(), 24 * HOUR)).unwrap();
    let fresh = tokio::spawn({
        let store = store.clone();
        async move { store.keep_fresh().await }
    });
    store.of(&id("shop", "web")).await.unwrap();
    let issuer = |store: &Store| store.list()[0].printed.issuer.clone();
    assert_eq!(issuer(&store), "CN=first");
    tokio::time::sleep(Duration::from_millis(100)).await;
    fs::write(dir.path().join("ca-key.pem"), "broken").unwrap();
    until(|| store.counts().contains_key("file")).await;
    assert_eq!(issuer(&store), "CN=first");
    mesh.write_cacerts(dir.path(), ca("second"), &KeyPair::generate().unwrap());
    until(|| issuer(&store) == "CN=second").await;
    fresh.abort();
}
