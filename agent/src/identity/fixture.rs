//! Meshes for tests: a root, clusters under it, certificates good and bad.

use super::issue::Identity;
use super::{Authority, tls};
use crate::vocab::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::from("cluster.local")
}

pub(crate) fn id(namespace: &str, account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().unwrap()
}

/// A root of trust that clusters share.
pub(crate) struct Mesh {
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self { root: CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap() }
    }

    /// A `cacerts` directory with an intermediate of its own.
    pub(crate) fn cacerts(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.write_cacerts(dir.path(), ca("intermediate"), &KeyPair::generate().unwrap());
        dir
    }

    pub(crate) fn write_cacerts(&self, dir: &Path, params: CertificateParams, key: &KeyPair) {
        let intermediate = params.signed_by(key, &self.root).unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.join(file), text).unwrap();
        write("root-cert.pem", &self.root.pem());
        write("ca-cert.pem", &intermediate.pem());
        write("ca-key.pem", &key.serialize_pem());
        write("cert-chain.pem", &format!("{}{}", intermediate.pem(), self.root.pem()));
    }

    /// The authority of a cluster of this mesh.
    pub(crate) fn authority(&self) -> Authority {
        Authority::load(self.cacerts().path(), &domain(), SystemTime::now()).unwrap()
    }

    /// A workload of a cluster of its own.
    pub(crate) fn identity(&self, id: &SpiffeId) -> Identity {
        self.authority().issue(id, 24 * HOUR, SystemTime::now()).unwrap()
    }
}

pub(crate) fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A certificate as `Authority` would never make it.
pub(crate) fn leaf(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// Configurations of a peer that shows `params`, signed by `authority`.
pub(crate) fn showing(authority: &Authority, params: CertificateParams) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority.issuer).unwrap();
    let mut chain = vec![leaf.der().clone()];
    chain.extend(authority.intermediates.iter().cloned());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = Arc::new(CertifiedKey::from_der(chain, key, &authority.provider).unwrap());
    let client = tls::client(&authority.provider, authority.trust(), &key, super::ALPN_HBONE).unwrap();
    (client, tls::server(&authority.provider, authority.trust(), &key).unwrap())
}
