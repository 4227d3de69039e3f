//! The certificate authority of this cluster, from a directory in Istio's `cacerts` layout.

use super::tls;
use super::verify::{PeerRole, Trust};
use crate::identity::issue::Validity;
use crate::vocab::{Namespace, ServiceAccount, SpiffeId, TrustDomain};
use aws_lc_rs::digest;
use rcgen::{Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The roots that every cluster of the mesh shares.
const ROOT: &str = "root-cert.pem";
/// This cluster's intermediate.
const CERT: &str = "ca-cert.pem";
/// Its private key.
const KEY: &str = "ca-key.pem";
/// From the intermediate up to the root.
const CHAIN: &str = "cert-chain.pem";

/// Signs certificates for the workloads of this node.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// What a workload shows after its own certificate: intermediates only, a peer has the root.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    /// No certificate that is issued may outlive its issuer.
    pub(super) not_after: SystemTime,
    pub(super) trust: Arc<Trust>,
    pub(super) provider: Arc<CryptoProvider>,
    fingerprint: Vec<u8>,
}

/// A `cacerts` directory that cannot be used: which file, and what is wrong with it.
#[derive(Debug, Error)]
#[error("{}: {why}", file.display())]
pub struct AuthorityError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub why: Flaw,
}

/// What can be wrong with a file of the `cacerts` layout.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Flaw {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    #[error("is not PEM: {0}")]
    NotPem(String),
    #[error("holds no certificate")]
    NoCertificate,
    #[error("certificate {0} in it is malformed")]
    Malformed(usize),
    #[error("holds no private key that is understood (EC P-256, P-384, P-521, RSA or Ed25519, unencrypted): {0}")]
    Key(String),
    #[error("does not match the certificate in ca-cert.pem")]
    KeyMismatch,
    #[error("certificate `{0}` is not a CA: it may not sign")]
    NotCa(String),
    #[error("certificate `{0}` expired {1}")]
    Expired(String, String),
    #[error("certificate `{0}` is not valid before {1}")]
    NotYetValid(String, String),
    #[error("does not lead from ca-cert.pem to root-cert.pem: {0}")]
    Chain(String),
}

impl Authority {
    /// Reads and checks `dir`; `now` decides what is expired.
    pub fn load(dir: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let at = |file: &str| -> Blame { Box::new(blame(dir.join(file))) };
        let roots = certificates(dir, ROOT, now)?;
        let (cert, not_after) = certificates(dir, CERT, now)?.swap_remove(0);
        let key = private_key(dir)?;
        matches_certificate(&key, &cert).map_err(at(KEY))?;
        let roots: Vec<_> = roots.into_iter().map(|(root, _)| root).collect();
        let (intermediates, chain_ends) = intermediates(dir, &cert, &roots, now)?;
        let issuer = Issuer::from_ca_cert_der(&cert, key).map_err(|error| at(CERT)(Flaw::NotPem(error.to_string())))?;
        let provider = tls::provider();
        let trust = Trust::new(&roots, trust_domain.clone(), provider.clone())
            .map_err(|error| at(ROOT)(Flaw::Chain(error.to_string())))?;
        let not_after = chain_ends.map_or(not_after, |ends| ends.min(not_after));
        let fingerprint = Self::fingerprint_of(dir);
        let authority = Self { issuer, intermediates, not_after, trust: Arc::new(trust), provider, fingerprint };
        authority.try_out(now).map_err(|why| at(CHAIN)(Flaw::Chain(why)))?;
        Ok(authority)
    }

    /// Whom workloads of this authority believe.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// When the authority itself, or a link of its chain, ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether the files of `dir` are the ones this authority was made of.
    pub fn is_of(&self, dir: &Path) -> bool {
        self.fingerprint == Self::fingerprint_of(dir)
    }

    fn fingerprint_of(dir: &Path) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        for file in [ROOT, CERT, KEY, CHAIN] {
            let content = std::fs::read(dir.join(file)).unwrap_or_default();
            context.update(&content.len().to_le_bytes());
            context.update(&content);
        }
        context.finish().as_ref().to_vec()
    }

    /// Issues a certificate that nobody gets and judges it as a peer would: the only complete check
    /// of issuer, links and root together.
    fn try_out(&self, now: SystemTime) -> Result<(), String> {
        let id = SpiffeId {
            trust_domain: self.trust.trust_domain().clone(),
            namespace: Namespace::from("underpass"),
            service_account: ServiceAccount::from("self-check"),
        };
        let validity = Validity { not_before: now, not_after: now + Duration::from_secs(60) };
        let (leaf, _) = self.sign(&id, validity).map_err(|error| error.to_string())?;
        let time = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        for role in [PeerRole::Server, PeerRole::Client] {
            self.trust.check(&leaf, &self.intermediates, role, time).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("trust", &self.trust).finish_non_exhaustive()
    }
}

type Blame = Box<dyn Fn(Flaw) -> AuthorityError>;
type Links = (Vec<CertificateDer<'static>>, Option<SystemTime>);

fn blame(file: PathBuf) -> impl Fn(Flaw) -> AuthorityError {
    move |why| AuthorityError { file: file.clone(), why }
}

/// Every certificate of a file with the time it ends; at least one, all of them CAs, none out of date.
fn certificates(
    dir: &Path,
    file: &str,
    now: SystemTime,
) -> Result<Vec<(CertificateDer<'static>, SystemTime)>, AuthorityError> {
    let blame = blame(dir.join(file));
    let pem = std::fs::read(dir.join(file)).map_err(|error| blame(Flaw::Unreadable(error)))?;
    let ders = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let ders = ders.map_err(|error| blame(Flaw::NotPem(error.to_string())))?;
    if ders.is_empty() {
        return Err(blame(Flaw::NoCertificate));
    }
    let ends = |(index, der)| usable_ca(index, &der, now).map(|ends| (der, ends));
    ders.into_iter().enumerate().map(ends).collect::<Result<_, _>>().map_err(blame)
}

fn usable_ca(index: usize, der: &CertificateDer<'_>, now: SystemTime) -> Result<SystemTime, Flaw> {
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| Flaw::Malformed(index + 1))?;
    let subject = || cert.subject().to_string();
    let may_sign = cert.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    if !cert.is_ca() || !may_sign {
        return Err(Flaw::NotCa(subject()));
    }
    let validity = cert.validity();
    let time = |at: x509_parser::time::ASN1Time| UNIX_EPOCH + Duration::from_secs(at.timestamp().max(0).unsigned_abs());
    if now < time(validity.not_before) {
        return Err(Flaw::NotYetValid(subject(), validity.not_before.to_string()));
    }
    if now > time(validity.not_after) {
        return Err(Flaw::Expired(subject(), validity.not_after.to_string()));
    }
    Ok(time(validity.not_after))
}

fn private_key(dir: &Path) -> Result<KeyPair, AuthorityError> {
    let blame = blame(dir.join(KEY));
    let pem = std::fs::read(dir.join(KEY)).map_err(|error| blame(Flaw::Unreadable(error)))?;
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| blame(Flaw::Key(error.to_string())))?;
    KeyPair::try_from(&der).map_err(|error| blame(Flaw::Key(error.to_string())))
}

fn matches_certificate(key: &KeyPair, cert: &CertificateDer<'_>) -> Result<(), Flaw> {
    let (_, cert) = X509Certificate::from_der(cert).map_err(|_| Flaw::Malformed(1))?;
    if cert.public_key().subject_public_key.data.as_ref() == key.public_key_raw() {
        return Ok(());
    }
    Err(Flaw::KeyMismatch)
}

/// `ca-cert.pem` and what `cert-chain.pem` adds to it, without the roots; and when the first of
/// them ends. Without `cert-chain.pem` the intermediate must be signed by the root itself.
fn intermediates(
    dir: &Path,
    cert: &CertificateDer<'static>,
    roots: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<Links, AuthorityError> {
    let mut links = if dir.join(CHAIN).exists() { certificates(dir, CHAIN, now)? } else { Vec::new() };
    links.retain(|(link, _)| !roots.contains(link) && link != cert);
    let ends = links.iter().map(|(_, ends)| *ends).min();
    let mut chain: Vec<_> = links.into_iter().map(|(link, _)| link).collect();
    if !roots.contains(cert) {
        chain.insert(0, cert.clone());
    }
    Ok((chain, ends))
}
