//! Certificate authorities: one root for a lab, an intermediate for each cluster, in Istio's `cacerts` layout.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// A root that signs intermediates.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Root {
    /// A new root, ECDSA P-256.
    ///
    /// # Errors
    /// Key generation fails.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let params = ca_params(name, BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { issuer: Issuer::new(params, key), pem: certificate.pem() })
    }

    /// The root kept in a directory, made at first.
    ///
    /// # Errors
    /// The file system's, or what is there is no root.
    pub fn kept_in(dir: &Path, name: &str) -> Result<Self> {
        let (cert, key) = (dir.join("root-cert.pem"), dir.join("root-key.pem"));
        if let (Ok(cert), Ok(key)) = (fs::read_to_string(&cert), fs::read_to_string(&key)) {
            let issuer = Issuer::from_ca_cert_pem(&cert, KeyPair::from_pem(&key)?)?;
            return Ok(Self { issuer, pem: cert });
        }
        let root = Self::new(name)?;
        fs::create_dir_all(dir)?;
        write_secret(&key, &root.issuer.key().serialize_pem())?;
        fs::write(&cert, &root.pem)?;
        Ok(root)
    }

    /// Writes a cluster's directory: root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem.
    ///
    /// # Errors
    /// Key generation or the file system fails.
    pub fn write_cacerts(&self, dir: &Path, cluster: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        let params = ca_params(&format!("Intermediate CA {cluster}"), BasicConstraints::Constrained(0));
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        write_secret(&dir.join("ca-key.pem"), &key.serialize_pem())?;
        fs::write(dir.join("ca-cert.pem"), &pem)?;
        fs::write(dir.join("root-cert.pem"), &self.pem)?;
        // As Istio's tools/certs does: the intermediate, then the root.
        fs::write(dir.join("cert-chain.pem"), format!("{pem}{}", self.pem))?;
        Ok(())
    }
}

fn ca_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Underpass lab");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
