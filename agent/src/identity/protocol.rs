//! `istio.v1.auth.IstioCertificateService`, as both ends of it write it.

use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The one method.
pub const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// The key in [`CertificateRequest::metadata`] of whom a node's agent asks for.
const IMPERSONATED: &str = "ImpersonatedIdentity";
/// The request's metadata that names the cluster of the caller's token.
pub const CLUSTER_ID: &str = "clusterid";

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateRequest {
    /// PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Beside the request itself.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<Struct>,
    /// Seconds.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateResponse {
    /// PEM, leaf first; the last is the root, or several.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

impl CertificateRequest {
    /// Asks for another's certificate: an identity's in full.
    pub fn impersonating(csr: String, identity: String, validity_duration: i64) -> Self {
        let value = Value { kind: Some(Kind::StringValue(identity)) };
        let metadata = Struct { fields: [(IMPERSONATED.to_owned(), value)].into() };
        Self { csr, metadata: Some(metadata), validity_duration }
    }

    /// Whose certificate is asked for, where that is not the caller's own.
    pub fn impersonated(&self) -> Option<&str> {
        match self.metadata.as_ref()?.fields.get(IMPERSONATED)?.kind.as_ref()? {
            Kind::StringValue(identity) if !identity.is_empty() => Some(identity),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    /// Field numbers and types as istio.io/api/security/v1alpha1/ca.proto has them; the bytes are written out by hand.
    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let request = CertificateRequest::impersonating("csr".to_owned(), "me".to_owned(), 300);
        let mut wire = b"\x0a\x03csr\x12\x1e\x0a\x1c\x0a\x14ImpersonatedIdentity\x12\x04\x1a\x02me".to_vec();
        wire.extend(b"\x18\xac\x02");
        assert_eq!(request.encode_to_vec(), wire);
        assert_eq!(CertificateRequest::decode(wire.as_slice()).unwrap().impersonated(), Some("me"));
        let response = CertificateResponse { cert_chain: vec!["a".to_owned(), "b".to_owned()] };
        assert_eq!(response.encode_to_vec(), b"\x0a\x01a\x0a\x01b");
    }

    #[test]
    fn who_asks_for_nobody_asks_for_itself() {
        assert_eq!(CertificateRequest::default().impersonated(), None);
        assert_eq!(CertificateRequest::impersonating(String::new(), String::new(), 0).impersonated(), None);
    }
}
