//! A workload's certificate, and the TLS configurations that show it.

use super::authority::Authority;
use super::tls;
use crate::vocab::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// How far a peer's clock may be behind ours. Istio backdates by the same.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

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
    /// Opens HBONE sessions.
    pub client_hbone: Arc<ClientConfig>,
    /// Accepts both; the negotiated ALPN tells which.
    pub server: Arc<ServerConfig>,
    /// When the certificate is good.
    pub validity: Validity,
    /// Its own certificate, then the intermediates.
    pub chain: Vec<CertificateDer<'static>>,
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
}

impl Authority {
    /// Issues `id` a certificate for `lifetime` from `now`, or to the authority's own end if that is
    /// sooner. The key is made here and never leaves memory.
    pub fn issue(&self, id: &SpiffeId, lifetime: Duration, now: SystemTime) -> Result<Identity, IssueError> {
        if id.trust_domain != *self.trust.trust_domain() {
            let trust_domain = self.trust.trust_domain().clone();
            return Err(IssueError::ForeignTrustDomain { id: id.clone(), trust_domain });
        }
        if self.not_after <= now {
            return Err(IssueError::AuthorityExpired);
        }
        let validity = Validity { not_before: now - CLOCK_SKEW, not_after: (now + lifetime).min(self.not_after) };
        let (leaf, key) = self.sign(id, validity)?;
        let mut chain = vec![leaf];
        chain.extend(self.intermediates.iter().cloned());
        let certified = Arc::new(CertifiedKey::from_der(chain.clone(), key, &self.provider)?);
        Ok(Identity {
            id: id.clone(),
            client_underpass: tls::client(&self.provider, &self.trust, &certified, super::ALPN_UNDERPASS)?,
            client_hbone: tls::client(&self.provider, &self.trust, &certified, super::ALPN_HBONE)?,
            server: tls::server(&self.provider, &self.trust, &certified)?,
            validity,
            chain,
        })
    }

    /// The bare certificate with its new key. As istiod writes it: no subject, so the SPIFFE name is
    /// critical (RFC 5280, 4.2.1.6), for both sides of TLS.
    pub(super) fn sign(
        &self,
        id: &SpiffeId,
        validity: Validity,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), IssueError> {
        let uri = id.to_string().try_into().map_err(|_| IssueError::Unwritable(id.clone()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.not_before = validity.not_before.into();
        params.not_after = validity.not_after.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok((leaf.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }
}

impl Identity {
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
