//! A certificate signing request: whether it is in order, and whether it tells the truth about its name.
//!
//! A request may leave the name out; what is certified is the name that was authorized. One that claims another name,
//! or anything beside it, is refused: who writes that is broken or lying, and a certificate that differs from what was
//! asked for helps neither.

use crate::vocab::SpiffeId;
use rcgen::{CertificateSigningRequestParams, PublicKey, SanType};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Key;

/// RSA moduli that are accepted, in bits: less is breakable, more is a way to keep the CA busy.
const RSA: std::ops::RangeInclusive<usize> = 2048..=4096;

/// What is wrong with a request.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadRequest {
    /// No PEM, or nothing that is a request.
    #[error("the CSR is malformed")]
    Malformed,
    /// Somebody else's key.
    #[error("the CSR is not signed by its own key")]
    Signature,
    /// An algorithm that nobody needs.
    #[error("the CSR's key is not EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 4096 bits: {0}")]
    Key(String),
    /// Another name than the one that is authorized.
    #[error("the CSR claims `{claimed}`, and `{authorized}` is what was asked for")]
    Lies {
        /// What it says.
        claimed: String,
        /// What it may say.
        authorized: SpiffeId,
    },
    /// It wants to be an authority.
    #[error("the CSR asks to be a certificate authority")]
    Authority,
}

impl BadRequest {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "bad_signature",
            Self::Key(_) => "bad_key",
            Self::Lies { .. } => "wrong_name",
            Self::Authority => "wants_authority",
        }
    }
}

/// The key that is to be certified for `id`.
///
/// # Errors
/// [`BadRequest`].
pub fn key_of(csr: &str, id: &SpiffeId) -> Result<PublicKey, BadRequest> {
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).map_err(|_| BadRequest::Malformed)?;
    check_key(&der)?;
    let request = CertificateSigningRequestParams::from_der(&der).map_err(|error| match error {
        rcgen::Error::InvalidCertificationRequestSignature => BadRequest::Signature,
        rcgen::Error::UnsupportedSignatureAlgorithm => BadRequest::Key("its signature".to_owned()),
        _ => BadRequest::Malformed,
    })?;
    if matches!(request.params.is_ca, rcgen::IsCa::Ca(_)) {
        return Err(BadRequest::Authority);
    }
    let authorized = id.to_string();
    let lies = |claimed: String| BadRequest::Lies { claimed, authorized: id.clone() };
    for name in &request.params.subject_alt_names {
        match name {
            SanType::URI(uri) if uri.as_str() == authorized => {}
            SanType::URI(uri) => return Err(lies(uri.as_str().to_owned())),
            SanType::DnsName(name) => return Err(lies(name.as_str().to_owned())),
            other => return Err(lies(format!("{other:?}"))),
        }
    }
    Ok(request.public_key)
}

fn check_key(der: &CertificateSigningRequestDer<'_>) -> Result<(), BadRequest> {
    let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| BadRequest::Malformed)?;
    if !rest.is_empty() {
        return Err(BadRequest::Malformed);
    }
    let key = &csr.certification_request_info.subject_pki;
    match key.parsed() {
        Ok(Key::EC(point)) if [256, 384, 521, 528].contains(&point.key_size()) => Ok(()),
        Ok(Key::RSA(rsa)) if RSA.contains(&rsa.key_size()) => Ok(()),
        Ok(Key::EC(point)) => Err(BadRequest::Key(format!("EC of {} bits", point.key_size()))),
        Ok(Key::RSA(rsa)) => Err(BadRequest::Key(format!("RSA of {} bits", rsa.key_size()))),
        Ok(_) if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => Ok(()),
        _ => Err(BadRequest::Key(key.algorithm.algorithm.to_id_string())),
    }
}
