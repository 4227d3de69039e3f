//! Whether a server is who a rule says.

use crate::model::traffic_policy::SubjectName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::fmt;
use std::sync::Arc;
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, RevocationOptionsBuilder, UnknownStatusPolicy};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Checks a server's certificate.
pub struct Verifier {
    /// Whom to trust.
    pub roots: Vec<TrustAnchor<'static>>,
    /// Names of which it must have one; none: the one that was asked for.
    pub names: Vec<SubjectName>,
    /// Certificates that are not valid any more.
    pub revoked: Vec<CertRevocationList<'static>>,
    /// Whether everything is believed.
    pub insecure: bool,
    /// Cryptography.
    pub provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn chain(&self, leaf: &EndEntityCert<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        // Lists of other authorities say nothing of this one's certificates.
        let revocation = revocation.map(|options| options.with_status_policy(UnknownStatusPolicy::Allow).build());
        leaf.verify_for_usage(algorithms, &self.roots, others, now, KeyUsage::server_auth(), revocation, None)
            .map(drop)
            .map_err(refused)
    }

    fn is_named(&self, leaf: &EndEntityCert<'_>, der: &CertificateDer<'_>, asked: &ServerName<'_>) -> bool {
        if self.names.is_empty() {
            return leaf.verify_is_valid_for_subject_name(asked).is_ok();
        }
        self.names.iter().any(|name| match name {
            SubjectName::Dns(name) => {
                ServerName::try_from(&**name).is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
            }
            SubjectName::Uri(uri) => has_uri(der, uri),
        })
    }
}

fn has_uri(der: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(uri) if *uri == wanted))
}

fn refused(error: webpki::Error) -> Error {
    let reason = match error {
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(reason)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let leaf = EndEntityCert::try_from(end_entity).map_err(refused)?;
        self.chain(&leaf, intermediates, now)?;
        if !self.is_named(&leaf, end_entity, server_name) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("names", &self.names).field("insecure", &self.insecure).finish_non_exhaustive()
    }
}
