//! The certificate authority of this cluster, from a directory in Istio's `cacerts` layout.

use super::bundle::{Bundle, TrustOptions};
use super::files;
use super::issue::{IssueError, Validity};
use super::tls;
use super::verify::PeerRole;
use crate::vocab::{Namespace, ServiceAccount, SpiffeId, TrustDomain};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::fmt;
use std::path::{Path, PathBuf};
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

/// How far a peer's clock may be behind ours. Istio backdates by the same.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Signs certificates of one trust domain.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// What a workload shows after its own certificate: intermediates only, a peer has the root.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    /// No certificate that is issued may outlive its issuer.
    pub(super) not_after: SystemTime,
    roots: Vec<CertificateDer<'static>>,
    trust_domain: TrustDomain,
    fingerprint: Vec<u8>,
}

/// A certificate with what leads to the root, and the time that it is good for.
pub type Certified = (Vec<CertificateDer<'static>>, Validity);

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
        let not_after = chain_ends.map_or(not_after, |ends| ends.min(not_after));
        let (trust_domain, fingerprint) = (trust_domain.clone(), files::fingerprint(Self::files(dir)));
        let authority = Self { issuer, intermediates, not_after, roots, trust_domain, fingerprint };
        authority.try_out(now).map_err(|why| at(CHAIN)(Flaw::Chain(why)))?;
        Ok(authority)
    }

    /// The roots that all clusters of the mesh share.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// When the authority itself, or a link of its chain, ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The files of the layout.
    pub fn files(dir: &Path) -> [PathBuf; 4] {
        [ROOT, CERT, KEY, CHAIN].map(|file| dir.join(file))
    }

    /// Whether the files of `dir` are the ones this authority was made of.
    pub fn is_of(&self, dir: &Path) -> bool {
        self.fingerprint == files::fingerprint(Self::files(dir))
    }

    /// Certifies that `key` is `id`'s for `lifetime` from `now`, or to the authority's own end if that is sooner.
    ///
    /// # Errors
    /// Another trust domain's identity, an authority that is over, or a key that cannot be written.
    pub fn certify(
        &self,
        id: &SpiffeId,
        key: &impl PublicKeyData,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Certified, IssueError> {
        if id.trust_domain != self.trust_domain {
            return Err(IssueError::ForeignTrustDomain { id: id.clone(), trust_domain: self.trust_domain.clone() });
        }
        let uri = id.to_string().try_into().map_err(|_| IssueError::Unwritable(id.clone()))?;
        self.sign(vec![SanType::URI(uri)], key, lifetime, now)
    }

    /// A certificate for these names. As istiod writes it: no subject, so the names are critical (RFC 5280, 4.2.1.6), for
    /// both sides of TLS.
    ///
    /// # Errors
    /// An authority that is over, or a key that cannot be written.
    pub fn sign(
        &self,
        names: Vec<SanType>,
        key: &impl PublicKeyData,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Certified, IssueError> {
        if self.not_after <= now {
            return Err(IssueError::AuthorityExpired);
        }
        let validity = Validity { not_before: now - CLOCK_SKEW, not_after: (now + lifetime).min(self.not_after) };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.not_before = validity.not_before.into();
        params.not_after = validity.not_after.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let mut chain = vec![params.signed_by(key, &self.issuer)?.der().clone()];
        chain.extend(self.intermediates.iter().cloned());
        Ok((chain, validity))
    }

    /// Issues a certificate that nobody gets and judges it as a peer would: the only complete check
    /// of issuer, links and root together.
    fn try_out(&self, now: SystemTime) -> Result<(), String> {
        let id = SpiffeId {
            trust_domain: self.trust_domain.clone(),
            namespace: Namespace::from("underpass"),
            service_account: ServiceAccount::from("self-check"),
        };
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
        let lifetime = Duration::from_secs(60);
        let (chain, _) = self.certify(&id, &key, lifetime, now).map_err(|error| error.to_string())?;
        let trust = TrustOptions::new(self.trust_domain.clone());
        let bundle = Bundle::new(&trust, &self.roots).map_err(|error| error.to_string())?;
        let time = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        for role in [PeerRole::Server, PeerRole::Client] {
            let checked = bundle.check(&tls::provider(), (&chain[0], &chain[1..]), role, time);
            checked.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl AuthorityError {
    pub(super) fn of_roots(dir: &Path, error: &super::PeerError) -> Self {
        Self { file: dir.join(ROOT), why: Flaw::NotPem(error.to_string()) }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
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
