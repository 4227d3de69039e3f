//! TLS to the endpoint.

use super::{Reading, raw};
use crate::model::ObjectId;
use crate::model::traffic_policy::{CertificateSource, ClientTls, ClientTlsMode, Roots, SubjectName};
use crate::source::name;
use crate::source::path::Path;
use std::sync::Arc;

/// What the machine trusts, said in words.
const SYSTEM: &str = "system";

impl Reading<'_, '_> {
    /// What `tls` says.
    pub fn tls(&mut self, raw: &raw::Tls, path: &Path) -> ClientTls {
        let mode = self.tls_mode(raw.mode.as_deref(), &path.key("mode"));
        let originates = matches!(mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
        self.tls_conflicts(raw, originates, path);
        let secret = self.secret(&raw.credential_name, &path.key("credentialName"));
        let roots = match (&secret, raw.ca_certificates.as_str()) {
            (Some(secret), _) => Roots::Secret(secret.clone()),
            (None, "" | SYSTEM) => Roots::System,
            (None, file) => Roots::File(file.into()),
        };
        let certificate = (mode == ClientTlsMode::Mutual).then(|| self.certificate(raw, secret, path)).flatten();
        ClientTls {
            mode,
            sni: text(&raw.sni),
            names: raw.subject_alt_names.iter().map(|name| subject(name)).collect(),
            roots,
            certificate,
            insecure: raw.insecure_skip_verify.unwrap_or(false),
            crl: text(&raw.ca_crl),
        }
    }

    fn tls_mode(&mut self, raw: Option<&str>, path: &Path) -> ClientTlsMode {
        match raw {
            None | Some("DISABLE") => ClientTlsMode::Disable,
            Some("SIMPLE") => ClientTlsMode::Simple,
            Some("MUTUAL") => ClientTlsMode::Mutual,
            Some("ISTIO_MUTUAL") => ClientTlsMode::IstioMutual,
            Some(other) => {
                let what = format!("`{other}` is not a mode: DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL");
                self.notes.invalid("invalid-value", path, what);
                ClientTlsMode::Disable
            }
        }
    }

    fn tls_conflicts(&mut self, raw: &raw::Tls, originates: bool, path: &Path) {
        let files = [
            ("clientCertificate", !raw.client_certificate.is_empty()),
            ("privateKey", !raw.private_key.is_empty()),
            ("caCertificates", !raw.ca_certificates.is_empty()),
            ("caCrl", !raw.ca_crl.is_empty()),
        ];
        let others = [
            ("credentialName", !raw.credential_name.is_empty()),
            ("insecureSkipVerify", raw.insecure_skip_verify == Some(true)),
        ];
        for (field, _) in files.iter().chain(&others).filter(|(_, there)| *there && !originates) {
            self.notes.warning(
                "no-effect",
                &path.key(field),
                "is for the modes SIMPLE and MUTUAL, and ignored in this one",
            );
        }
        if !originates {
            return;
        }
        for (field, _) in files.iter().filter(|(_, there)| *there && !raw.credential_name.is_empty()) {
            self.notes.error(
                "conflict",
                &path.key(field),
                "stands beside `credentialName`: keep the files or the Secret",
            );
        }
        let checked = [
            ("caCertificates", !raw.ca_certificates.is_empty()),
            ("subjectAltNames", !raw.subject_alt_names.is_empty()),
        ];
        let checked = checked.iter().filter(|(_, there)| *there && raw.insecure_skip_verify == Some(true));
        for (field, _) in checked {
            self.notes.error(
                "conflict",
                &path.key(field),
                "stands beside `insecureSkipVerify: true`, which checks nothing",
            );
        }
    }

    /// A Secret of the rule's own namespace.
    fn secret(&mut self, text: &str, path: &Path) -> Option<ObjectId> {
        if text.is_empty() {
            return None;
        }
        if !name::is_subdomain(text) {
            let what = format!("`{text}` is not a Secret's name: a-z, 0-9, `-` and `.`");
            self.notes.invalid("invalid-name", path, what);
            return None;
        }
        Some(ObjectId { namespace: self.namespace.clone(), name: text.into() })
    }

    fn certificate(&mut self, raw: &raw::Tls, secret: Option<ObjectId>, path: &Path) -> Option<CertificateSource> {
        if let Some(secret) = secret {
            return Some(CertificateSource::Secret(secret));
        }
        for (field, file) in [("clientCertificate", &raw.client_certificate), ("privateKey", &raw.private_key)] {
            if file.is_empty() && raw.credential_name.is_empty() {
                let what =
                    format!("`{field}` is missing: MUTUAL needs clientCertificate and privateKey, or credentialName");
                self.notes.error("missing-field", path, what);
            }
        }
        let (chain, key) = (text(&raw.client_certificate)?, text(&raw.private_key)?);
        Some(CertificateSource::Files { chain, key })
    }
}

fn subject(name: &str) -> SubjectName {
    match name.contains("://") {
        true => SubjectName::Uri(name.into()),
        false => SubjectName::Dns(name.into()),
    }
}

fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}
