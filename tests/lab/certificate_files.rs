//! Certificates for applications that speak TLS themselves: files that pods can read.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// An authority, and below it a directory with `NAME.pem` and `NAME.key`, and its own `ca.pem`.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// An authority with one certificate for each of these names.
    pub fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = named("ca");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        for name in names {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
            params.distinguished_name = named(name);
            let leaf = params.signed_by(&key, &ca).unwrap();
            fs::write(dir.path().join(format!("{name}.pem")), leaf.pem()).unwrap();
            fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { dir }
    }

    /// Where a file is.
    pub fn path(&self, file: &str) -> String {
        self.dir.path().join(file).display().to_string()
    }

    /// What is in it, as a string of JSON.
    pub fn quoted(&self, file: &str) -> String {
        serde_json::json!(fs::read_to_string(self.path(file)).unwrap()).to_string()
    }

    /// What is in it, in base64 as Secrets have it.
    pub fn encoded(&self, file: &str) -> String {
        let words = ["base64", "-w0", &self.path(file)];
        underpass_tests::run::run(std::process::Command::new(words[0]).args(&words[1..])).unwrap()
    }

    /// A container that answers HTTP in TLS on 8443, with the certificate of that name.
    pub fn server(&self, name: &str, more: &str) -> String {
        let (chain, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let line = format!("exec openssl s_server -quiet -www -accept 8443 -cert {chain} -key {key} {more}");
        format!("{{name: main, image: openssl, command: [sh, '-c', {}]}}", serde_json::json!(line))
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}
