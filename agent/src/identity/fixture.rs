//! Meshes for tests: a root, clusters under it, certificates good and bad.

use super::issue::{Identity, IssueError, new_key};
use super::{Authority, Trust, TrustOptions, tls};
use crate::vocab::{Alpn, SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
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

    /// The root itself, PEM.
    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The authority of a cluster of this mesh.
    pub(crate) fn authority(&self) -> Cluster {
        self.trusting(TrustOptions::new(domain()))
    }

    /// The same, whose workloads believe others too.
    pub(crate) fn trusting(&self, options: TrustOptions) -> Cluster {
        let authority = Authority::load(self.cacerts().path(), &options.trust_domain, SystemTime::now()).unwrap();
        let trust = Trust::open(options, tls::provider()).unwrap();
        trust.set_roots(authority.roots()).unwrap();
        Cluster { authority, trust: Arc::new(trust) }
    }

    /// A workload of a cluster of its own.
    pub(crate) fn identity(&self, id: &SpiffeId) -> Identity {
        self.authority().issue(id, 24 * HOUR, SystemTime::now()).unwrap()
    }
}

/// An authority, and whom its workloads believe.
pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    trust: Arc<Trust>,
}

impl Cluster {
    pub(crate) fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    pub(crate) fn issue(&self, id: &SpiffeId, lifetime: Duration, now: SystemTime) -> Result<Identity, IssueError> {
        let key = new_key()?;
        let (chain, _) = self.authority.certify(id, &key, lifetime, now)?;
        Identity::new(id, chain, &key, &self.trust)
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

/// Configurations of a peer that shows `params`, signed by `cluster`.
pub(crate) fn showing(cluster: &Cluster, params: CertificateParams) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    showing_chain(cluster, params, &cluster.authority.intermediates)
}

/// The same with these intermediates.
pub(crate) fn showing_chain(
    cluster: &Cluster,
    params: CertificateParams,
    intermediates: &[CertificateDer<'static>],
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (key, provider) = (KeyPair::generate().unwrap(), tls::provider());
    let leaf = params.signed_by(&key, &cluster.authority.issuer).unwrap();
    let mut chain = vec![leaf.der().clone()];
    chain.extend(intermediates.iter().cloned());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap());
    let client = tls::client(&provider, cluster.trust(), &key, &[Alpn::Hbone]).unwrap();
    (client, tls::server(&provider, cluster.trust(), &key).unwrap())
}
