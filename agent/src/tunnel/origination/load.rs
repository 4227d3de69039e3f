//! A TLS client out of what a rule names: files of the agent's, Secrets, ConfigMaps.

use super::verify::Verifier;
use super::{Credentials, Inside, OriginationError};
use crate::model::traffic_policy::{CertificateSource, ClientTls, ClientTlsMode, Roots};
use crate::model::{Credential, CredentialId, ObjectId};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor};
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;
use webpki::{CertRevocationList, OwnedCertRevocationList};

/// Something that a client was made of, to see whether it is still the same.
pub enum Stamp {
    /// A file, with its time if it was there.
    File(Arc<str>, Option<SystemTime>),
    /// A Secret or ConfigMap, if it was there.
    Credential(CredentialId, Option<Arc<Credential>>),
}

impl Stamp {
    /// Whether it is.
    pub fn stands(&self, credentials: &Credentials<'_>) -> bool {
        match self {
            Self::File(path, then) => changed(path) == *then,
            Self::Credential(id, then) => credentials(id) == *then,
        }
    }
}

fn changed(path: &str) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// Makes a client, and says of what.
pub fn client(
    tls: &ClientTls,
    inside: Inside,
    credentials: &Credentials<'_>,
) -> (Result<Arc<ClientConfig>, OriginationError>, Vec<Stamp>) {
    let mut reading = Reading { credentials, stamps: Vec::new() };
    let made = reading.client(tls, inside).map(Arc::new).map_err(|why| OriginationError::Unusable(why.into()));
    (made, reading.stamps)
}

struct Reading<'a> {
    credentials: &'a Credentials<'a>,
    stamps: Vec<Stamp>,
}

impl Reading<'_> {
    fn client(&mut self, tls: &ClientTls, inside: Inside) -> Result<ClientConfig, String> {
        let provider = Arc::new(default_provider());
        let verifier = Verifier {
            roots: if tls.insecure { Vec::new() } else { anchors(&self.roots(&tls.roots)?)? },
            names: tls.names.clone(),
            revoked: self.revoked(tls.crl.as_ref())?,
            insecure: tls.insecure,
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.own(tls)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("the client certificate cannot be used: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match inside {
            Inside::Bytes => Vec::new(),
            Inside::Http1 => vec![b"http/1.1".to_vec()],
            Inside::Http2 => vec![b"h2".to_vec()],
        };
        Ok(config)
    }

    fn roots(&mut self, roots: &Roots) -> Result<Vec<CertificateDer<'static>>, String> {
        let (what, pem) = match roots {
            Roots::System => return Ok(rustls_native_certs::load_native_certs().certs),
            Roots::File(path) => (path.to_string(), self.file(path)?),
            Roots::Secret(id) => self.authorities(id)?,
            Roots::ConfigMap(id) => {
                let id = CredentialId::config_map(id.clone());
                let found = self.credential(&id)?;
                let pem = found.authorities().ok_or_else(|| format!("{id} has no `ca.crt`"))?;
                (id.to_string(), pem.to_vec())
            }
        };
        certificates(&what, &pem)
    }

    /// As Istio has it: in the Secret itself, or in one of the same name with `-cacert` behind it.
    fn authorities(&mut self, id: &ObjectId) -> Result<(String, Vec<u8>), String> {
        let own = CredentialId::secret(id.clone());
        let apart = ObjectId { namespace: id.namespace.clone(), name: format!("{}-cacert", id.name).into() };
        let apart = CredentialId::secret(apart);
        for id in [&own, &apart] {
            if let Ok(found) = self.credential(id)
                && let Some(pem) = found.authorities()
            {
                return Ok((id.to_string(), pem.to_vec()));
            }
        }
        Err(format!("neither {own} nor {apart} has `ca.crt` or `cacert`"))
    }

    fn own(
        &mut self,
        tls: &ClientTls,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, String> {
        let (what, chain, key) = match &tls.certificate {
            None if tls.mode == ClientTlsMode::Mutual => return Err("there is no client certificate to show".into()),
            None => return Ok(None),
            Some(CertificateSource::Files { chain, key }) => (key.to_string(), self.file(chain)?, self.file(key)?),
            Some(CertificateSource::Secret(id)) => {
                let id = CredentialId::secret(id.clone());
                let found = self.credential(&id)?;
                let pair = found.certificate().zip(found.key());
                let (chain, key) = pair.ok_or_else(|| format!("{id} lacks `tls.crt` or `tls.key`"))?;
                (id.to_string(), chain.to_vec(), key.to_vec())
            }
        };
        let chain = certificates(&what, &chain)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| format!("{what}: there is no private key in it"))?;
        Ok(Some((chain, key)))
    }

    fn revoked(&mut self, path: Option<&Arc<str>>) -> Result<Vec<CertRevocationList<'static>>, String> {
        let Some(path) = path else {
            return Ok(Vec::new());
        };
        let pem = self.file(path)?;
        let bad = || format!("{path}: there is no revocation list in it that can be read");
        let lists = CertificateRevocationListDer::pem_slice_iter(&pem).map(|list| {
            let list = list.map_err(|_| bad())?;
            OwnedCertRevocationList::from_der(&list).map(CertRevocationList::Owned).map_err(|_| bad())
        });
        let lists: Vec<_> = lists.collect::<Result<_, _>>()?;
        if lists.is_empty() { Err(bad()) } else { Ok(lists) }
    }

    fn file(&mut self, path: &Arc<str>) -> Result<Vec<u8>, String> {
        self.stamps.push(Stamp::File(Arc::clone(path), changed(path)));
        fs::read(&**path).map_err(|error| format!("{path} (a file of the agent's): {error}"))
    }

    fn credential(&mut self, id: &CredentialId) -> Result<Arc<Credential>, String> {
        let found = (self.credentials)(id);
        self.stamps.push(Stamp::Credential(id.clone(), found.clone()));
        found.ok_or_else(|| format!("{id} is not there, or has no certificate in it"))
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{what}: there is no certificate in it that can be read")),
    }
}

/// Certificates that cannot be a root are left out, as long as there is one that can: bundles have some.
fn anchors(certificates: &[CertificateDer<'static>]) -> Result<Vec<TrustAnchor<'static>>, String> {
    let anchor = |root| webpki::anchor_from_trusted_cert(root).ok().map(|anchor| anchor.to_owned());
    let anchors: Vec<_> = certificates.iter().filter_map(anchor).collect();
    if anchors.is_empty() { Err("there is no authority to trust".to_owned()) } else { Ok(anchors) }
}
