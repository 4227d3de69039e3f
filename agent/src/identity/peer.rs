//! Who the other end proved to be, and every reason for not believing it.

use crate::vocab::spiffe::InvalidSpiffeId;
use crate::vocab::{SpiffeId, TrustDomain};
use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A peer whose chain the handshake's verifier accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPeer {
    id: SpiffeId,
    not_after: SystemTime,
}

impl VerifiedPeer {
    /// Reads the peer from `peer_certificates()` of a finished handshake whose verifier was
    /// [`Trust`](super::Trust): the chain itself is not checked again.
    pub fn from_certificates(chain: &[CertificateDer<'_>]) -> Result<Self, PeerError> {
        let leaf = chain.first().ok_or(PeerError::NoCertificate)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| PeerError::Malformed)?;
        let seconds = leaf.validity().not_after.timestamp().max(0).unsigned_abs();
        Ok(Self { id: identity_of(&leaf)?, not_after: UNIX_EPOCH + Duration::from_secs(seconds) })
    }

    /// Who the peer is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When the certificate it showed ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The same peer by another name of it.
    pub(super) fn named(self, id: SpiffeId) -> Self {
        Self { id, ..self }
    }

    /// The peer must be who the destination workload is said to be.
    pub fn expect(&self, expected: &SpiffeId) -> Result<(), WrongPeer> {
        if self.id == *expected {
            return Ok(());
        }
        Err(WrongPeer { expected: expected.clone(), presented: self.id.clone() })
    }
}

/// The peer is somebody, but not who was to be reached.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the peer is `{presented}`, not `{expected}`")]
pub struct WrongPeer {
    /// Who the destination workload is.
    pub expected: SpiffeId,
    /// Who answered.
    pub presented: SpiffeId,
}

/// Why a peer's certificate was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PeerError {
    /// It showed none.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// Not a certificate, or one that breaks X.509's rules.
    #[error("the peer's certificate is malformed")]
    Malformed,
    /// The chain leads somewhere else.
    #[error("the peer's certificate was not signed under this mesh's root")]
    OtherRoot,
    /// Over.
    #[error("the peer's certificate expired")]
    Expired,
    /// Its time has not come: often a clock that is wrong, here or there.
    #[error("the peer's certificate is not valid yet")]
    NotYetValid,
    /// On a list of certificates that are believed no more, it or a link above it.
    #[error("the peer's certificate was revoked")]
    Revoked,
    /// Not issued for this side of a TLS connection.
    #[error("the peer's certificate is not meant for this use")]
    WrongPurpose,
    /// Anything else webpki objects to.
    #[error("the peer's certificate was refused: {0}")]
    Refused(Arc<str>),
    /// No URI among its names.
    #[error("the peer's certificate has no SPIFFE identity")]
    NoSpiffeId,
    /// X.509-SVID allows exactly one (section 2).
    #[error("the peer's certificate has {0} URI names instead of one")]
    SeveralUris(usize),
    /// A URI that names no service account.
    #[error(transparent)]
    InvalidSpiffeId(#[from] InvalidSpiffeId),
    /// Somebody else's identities.
    #[error("the peer is of trust domain `{presented}`, not `{expected}`")]
    WrongTrustDomain {
        /// The mesh's.
        expected: TrustDomain,
        /// The peer's.
        presented: TrustDomain,
    },
}

impl PeerError {
    /// One word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed => "malformed",
            Self::OtherRoot => "other_root",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::WrongPurpose => "wrong_purpose",
            Self::Refused(_) => "refused",
            Self::NoSpiffeId => "no_spiffe_id",
            Self::SeveralUris(_) => "several_uris",
            Self::InvalidSpiffeId(_) => "invalid_spiffe_id",
            Self::WrongTrustDomain { .. } => "wrong_trust_domain",
        }
    }

    /// The reason inside a failed handshake, if it failed because of the peer's certificate.
    pub fn in_handshake(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::NoCertificatesPresented => Some(Self::NoCertificate),
            rustls::Error::InvalidCertificate(error) => Some(Self::from_certificate_error(error)),
            _ => None,
        }
    }

    fn from_certificate_error(error: &CertificateError) -> Self {
        match error {
            CertificateError::BadEncoding => Self::Malformed,
            CertificateError::UnknownIssuer => Self::OtherRoot,
            CertificateError::Expired => Self::Expired,
            CertificateError::NotValidYet => Self::NotYetValid,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::InvalidPurpose => Self::WrongPurpose,
            CertificateError::Other(other) => match other.0.downcast_ref::<Self>() {
                Some(error) => error.clone(),
                None => Self::Refused(other.to_string().into()),
            },
            other => Self::Refused(other.to_string().into()),
        }
    }
}

/// What rustls needs to send the alert that fits.
impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        Self::InvalidCertificate(match error {
            PeerError::NoCertificate => return Self::NoCertificatesPresented,
            PeerError::Malformed => CertificateError::BadEncoding,
            PeerError::OtherRoot => CertificateError::UnknownIssuer,
            PeerError::Expired => CertificateError::Expired,
            PeerError::NotYetValid => CertificateError::NotValidYet,
            PeerError::Revoked => CertificateError::Revoked,
            PeerError::WrongPurpose => CertificateError::InvalidPurpose,
            other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
        })
    }
}

fn identity_of(leaf: &X509Certificate<'_>) -> Result<SpiffeId, PeerError> {
    let names = leaf.subject_alternative_name().map_err(|_| PeerError::Malformed)?;
    let names = names.ok_or(PeerError::NoSpiffeId)?;
    let mut uris = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(PeerError::Malformed),
            _ => {}
        }
    }
    match uris.as_slice() {
        [] => Err(PeerError::NoSpiffeId),
        [uri] => Ok(uri.parse()?),
        several => Err(PeerError::SeveralUris(several.len())),
    }
}
