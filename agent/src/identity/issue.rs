//! A workload's certificate, and the TLS configurations that show it.

use super::remote::RemoteError;
use super::tls;
use super::verify::Trust;
use crate::vocab::{Alpn, SpiffeId, TrustDomain};
use rcgen::KeyPair;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

/// The time a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last.
    pub not_after: SystemTime,
}

/// One workload identity with its certificate: what a connection needs to speak for it.
pub struct Identity {
    /// Who.
    pub id: SpiffeId,
    /// Opens `underpass/1` sessions.
    pub client_underpass: Arc<ClientConfig>,
    /// Opens connections for many of them, or for one where the server knows no other.
    pub client_lanes: Arc<ClientConfig>,
    /// Opens HBONE sessions.
    pub client_hbone: Arc<ClientConfig>,
    /// Accepts all of these; the negotiated ALPN tells which.
    pub server: Arc<ServerConfig>,
    /// When the certificate is good.
    pub validity: Validity,
    /// Its own certificate, then the intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// What people compare certificates by.
    pub printed: Printed,
}

/// A certificate for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// Its key and how it is signed, such as `EC-256, ecdsa-with-SHA256`.
    pub algorithms: String,
}

/// No certificate could be issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The certificate authority speaks for another trust domain.
    #[error("`{id}` is not of this mesh's trust domain `{trust_domain}`")]
    ForeignTrustDomain {
        /// Who was asked for.
        id: SpiffeId,
        /// The mesh's.
        trust_domain: TrustDomain,
    },
    /// The name has characters that no certificate can carry.
    #[error("`{0}` cannot be written into a certificate")]
    Unwritable(SpiffeId),
    /// The authority's own certificate, or a link of its chain, is over.
    #[error("the certificate authority expired")]
    AuthorityExpired,
    /// Key generation or signing failed.
    #[error("cannot sign: {0}")]
    Sign(#[from] rcgen::Error),
    /// rustls does not take what was signed.
    #[error("cannot be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// What came is not a certificate.
    #[error("the certificate is malformed")]
    Malformed,
    /// The authority that was asked said no, or nothing.
    #[error("{0}")]
    Remote(#[from] RemoteError),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

impl IssueError {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ForeignTrustDomain { .. } => "foreign_trust_domain",
            Self::Unwritable(_) => "unwritable",
            Self::AuthorityExpired => "authority_expired",
            Self::Sign(_) => "sign",
            Self::Tls(_) => "tls",
            Self::Malformed => "malformed",
            Self::Remote(error) => error.reason(),
            Self::Stopping => "stopping",
        }
    }
}

/// A new key for a workload: made here, never written anywhere.
///
/// # Errors
/// The machine has no randomness.
pub fn new_key() -> Result<KeyPair, IssueError> {
    Ok(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?)
}

impl Identity {
    /// A workload that shows `chain` (leaf first, no root) and believes `trust`.
    ///
    /// # Errors
    /// The chain is malformed, or its leaf is of another key.
    pub fn new(
        id: &SpiffeId,
        chain: Vec<CertificateDer<'static>>,
        key: &KeyPair,
        trust: &Arc<Trust>,
    ) -> Result<Self, IssueError> {
        let (validity, printed) = read(chain.first().ok_or(IssueError::Malformed)?)?;
        let provider = trust.provider();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = Arc::new(CertifiedKey::from_der(chain.clone(), key, provider)?);
        Ok(Self {
            id: id.clone(),
            client_underpass: tls::client(provider, trust, &certified, &[Alpn::Sessions])?,
            client_lanes: tls::client(provider, trust, &certified, &[Alpn::Lanes, Alpn::Sessions])?,
            client_hbone: tls::client(provider, trust, &certified, &[Alpn::Hbone])?,
            server: tls::server(provider, trust, &certified)?,
            validity,
            chain,
            printed,
        })
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// Certificates count seconds.
fn time(at: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.timestamp().max(0).unsigned_abs())
}

fn read(leaf: &CertificateDer<'_>) -> Result<(Validity, Printed), IssueError> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| IssueError::Malformed)?;
    let times = leaf.validity();
    let validity = Validity { not_before: time(times.not_before), not_after: time(times.not_after) };
    let key = match leaf.public_key().parsed() {
        Ok(PublicKey::EC(point)) => format!("EC-{}", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA-{}", key.key_size()),
        _ => leaf.public_key().algorithm.algorithm.to_id_string(),
    };
    let oid = &leaf.signature_algorithm.algorithm;
    let signature = x509_parser::objects::oid2sn(oid, x509_parser::objects::oid_registry());
    let signature = signature.map_or_else(|_| oid.to_id_string(), str::to_owned);
    let serial = leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    let printed = Printed { serial, issuer: leaf.issuer().to_string(), algorithms: format!("{key}, {signature}") };
    Ok((validity, printed))
}
