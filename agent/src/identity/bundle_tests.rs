//! Who is believed under which roots, by which name, and who no more.

use super::fixture::{HOUR, Mesh, domain, id};
use super::verify::PeerRole;
use super::{CrlFile, Federated, Identity, PeerError, Trust, TrustOptions, VerifiedPeer};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::UnixTime;
use std::fs;
use std::path::Path;
use std::time::SystemTime;
use x509_parser::prelude::{FromDer, X509Certificate};

fn judged(trust: &Trust, peer: &Identity) -> Result<VerifiedPeer, PeerError> {
    trust.check(&peer.chain[0], &peer.chain[1..], PeerRole::Client, UnixTime::now())
}

/// What a mesh of another trust domain issues.
fn foreigner(mesh: &Mesh, domain: &str) -> Identity {
    let id = format!("spiffe://{domain}/ns/shop/sa/web").parse().unwrap();
    let cluster = mesh.trusting(TrustOptions::new(domain.into()));
    cluster.issue(&id, HOUR, SystemTime::now()).unwrap()
}

#[test]
fn an_alias_is_the_same_account_of_our_own_domain_under_our_own_roots() {
    let mesh = Mesh::new();
    let ours = mesh.trusting(TrustOptions { aliases: vec!["old.example".into()], ..TrustOptions::new(domain()) });
    let old = foreigner(&mesh, "old.example");
    judged(ours.trust(), &old).unwrap();
    assert_eq!(*ours.trust().peer(&old.chain).unwrap().id(), id("shop", "web"));
    let other = foreigner(&mesh, "elsewhere.example");
    assert_eq!(judged(ours.trust(), &other).unwrap_err().reason(), "wrong_trust_domain");
    assert_eq!(judged(ours.trust(), &foreigner(&Mesh::new(), "old.example")), Err(PeerError::OtherRoot));
}

#[test]
fn a_federated_root_speaks_for_its_own_domain_only() {
    let (mesh, partner, dir) = (Mesh::new(), Mesh::new(), tempfile::tempdir().unwrap());
    let roots = dir.path().join("partner.pem");
    fs::write(&roots, partner.root_pem()).unwrap();
    let federated = vec![Federated { trust_domain: "partner.example".into(), roots }];
    let ours = mesh.trusting(TrustOptions { federated, ..TrustOptions::new(domain()) });
    let theirs = foreigner(&partner, "partner.example");
    judged(ours.trust(), &theirs).unwrap();
    assert_eq!(ours.trust().peer(&theirs.chain).unwrap().id(), &theirs.id, "it keeps its own name");
    let lie = partner.identity(&id("shop", "web"));
    assert_eq!(judged(ours.trust(), &lie), Err(PeerError::OtherRoot), "our names are not theirs to sign");
    let lie = foreigner(&mesh, "partner.example");
    assert_eq!(judged(ours.trust(), &lie), Err(PeerError::OtherRoot), "nor theirs ours");
}

#[test]
fn two_roots_are_believed_while_one_leaves() {
    let (old, new) = (Mesh::new(), Mesh::new());
    let (before, after) = (old.identity(&id("shop", "web")), new.identity(&id("shop", "web")));
    let (ours, theirs) = (old.authority(), new.authority());
    let trust = ours.trust();
    let roots = |clusters: &[&super::fixture::Cluster]| {
        clusters.iter().flat_map(|cluster| cluster.authority.roots().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(judged(trust, &after), Err(PeerError::OtherRoot));
    assert!(trust.set_roots(&roots(&[&ours, &theirs])).unwrap());
    judged(trust, &before).unwrap();
    judged(trust, &after).unwrap();
    assert!(trust.set_roots(&roots(&[&theirs])).unwrap());
    assert_eq!(judged(trust, &before), Err(PeerError::OtherRoot));
    judged(trust, &after).unwrap();
    assert_eq!(trust.generation(), 3, "live tunnels are looked at again after each change");
}

#[test]
fn what_a_list_revokes_is_believed_no_more_and_a_broken_list_changes_nothing() {
    let (mesh, dir) = (Mesh::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("ca-crl.pem");
    let crls = vec![CrlFile { path: path.clone(), required: false }];
    let cluster = mesh.trusting(TrustOptions { crls, ..TrustOptions::new(domain()) });
    let issue = |account| cluster.issue(&id("shop", account), HOUR, SystemTime::now()).unwrap();
    let (web, cart, trust) = (issue("web"), issue("cart"), cluster.trust());
    judged(trust, &web).unwrap();
    assert!(!trust.is_revoked(&web.chain));
    revoke(&cluster, &web, &path);
    assert!(trust.reload().unwrap());
    assert!(!trust.reload().unwrap(), "nothing new");
    assert_eq!(judged(trust, &web), Err(PeerError::Revoked));
    assert!(trust.is_revoked(&web.chain) && !trust.is_revoked(&cart.chain));
    judged(trust, &cart).unwrap();
    fs::write(&path, "no list").unwrap();
    assert!(trust.reload().unwrap_err().to_string().ends_with("holds no certificate revocation list (X509 CRL)"));
    assert_eq!(judged(trust, &web), Err(PeerError::Revoked));
}

fn revoke(cluster: &super::fixture::Cluster, whose: &Identity, list: &Path) {
    let (_, leaf) = X509Certificate::from_der(&whose.chain[0]).unwrap();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from_slice(leaf.raw_serial()),
        revocation_time: SystemTime::now().into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: (SystemTime::now() - HOUR).into(),
        next_update: (SystemTime::now() + HOUR).into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(list, params.signed_by(&cluster.authority.issuer).unwrap().pem().unwrap()).unwrap();
}
