//! The judge of peers' certificates: the mesh's roots and its trust domain.
//!
//! SPIFFE certificates name no host, so the chain, its dates and its purpose are checked here, the
//! identity after the handshake ([`VerifiedPeer::expect`]).

use super::peer::{PeerError, VerifiedPeer};
use crate::vocab::TrustDomain;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::fmt;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// Whom this mesh believes, for both sides of a handshake.
pub struct Trust {
    roots: Vec<TrustAnchor<'static>>,
    trust_domain: TrustDomain,
    provider: Arc<CryptoProvider>,
}

/// Which side the peer is on: its certificate must be meant for that.
#[derive(Clone, Copy, Debug)]
pub enum PeerRole {
    /// The peer accepted the connection.
    Server,
    /// The peer opened it.
    Client,
}

impl Trust {
    /// Trusts certificates under `roots` that name identities of `trust_domain`.
    pub fn new(
        roots: &[CertificateDer<'_>],
        trust_domain: TrustDomain,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, PeerError> {
        let anchor = |root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned());
        let roots = roots.iter().map(anchor).collect::<Result<_, _>>().map_err(reason)?;
        Ok(Self { roots, trust_domain, provider })
    }

    /// The trust domain of every identity that is believed.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Checks a chain (leaf first) as a handshake at `now` would.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: PeerRole,
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerError> {
        let usage = match role {
            PeerRole::Server => KeyUsage::server_auth(),
            PeerRole::Client => KeyUsage::client_auth(),
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                leaf.verify_for_usage(algorithms, &self.roots, intermediates, now, usage, None, None).map(drop)
            })
            .map_err(reason)?;
        let peer = VerifiedPeer::from_certificates(std::slice::from_ref(leaf))?;
        if peer.id().trust_domain != self.trust_domain {
            let (expected, presented) = (self.trust_domain.clone(), peer.id().trust_domain.clone());
            return Err(PeerError::WrongTrustDomain { expected, presented });
        }
        Ok(peer)
    }

    fn signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, PeerRole::Server, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Trust {
    /// No hints: a workload has one certificate, and the handshake stays short.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, PeerRole::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// The configurations that hold a `Trust` speak TLS 1.3 alone, so rustls never asks.
fn tls12_never() -> rustls::Error {
    rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
}

fn reason(error: webpki::Error) -> PeerError {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => PeerError::OtherRoot,
        webpki::Error::CertExpired { .. } => PeerError::Expired,
        webpki::Error::CertNotValidYet { .. } => PeerError::NotYetValid,
        webpki::Error::RequiredEkuNotFoundContext(_) => PeerError::WrongPurpose,
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::TrailingData(_) => PeerError::Malformed,
        other => PeerError::Refused(other.to_string().into()),
    }
}
