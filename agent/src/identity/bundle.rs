//! Whom this mesh believes: roots by trust domain, other names of its own domain, and what was revoked.
//!
//! A root vouches for one trust domain only: a federated mesh's root cannot sign our identities, nor ours its.

use super::files::{FileError, certificates_in};
use super::peer::{PeerError, VerifiedPeer};
use super::verify::PeerRole;
use crate::vocab::{SpiffeId, TrustDomain};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// What trust is made of, beside the mesh's own roots.
#[derive(Clone, Debug)]
pub struct TrustOptions {
    /// Whose identities are issued and believed.
    pub trust_domain: TrustDomain,
    /// Other names of that domain: peers that show one are taken for the same service account of this domain.
    pub aliases: Vec<TrustDomain>,
    /// Other meshes, each with its own roots.
    pub federated: Vec<Federated>,
    /// Files of certificates that are believed no more.
    pub crls: Vec<CrlFile>,
}

/// Another mesh that is believed to speak for its own trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federated {
    /// The domain.
    pub trust_domain: TrustDomain,
    /// Its roots, PEM.
    pub roots: PathBuf,
}

/// A file of certificate revocation lists, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlFile {
    /// Where.
    pub path: PathBuf,
    /// Whether it must be there.
    pub required: bool,
}

impl CrlFile {
    /// That of a `cacerts` directory, which need not be there.
    pub fn of_cacerts(directory: &Path) -> Self {
        Self { path: directory.join("ca-crl.pem"), required: false }
    }
}

impl TrustOptions {
    /// A trust domain alone.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, aliases: Vec::new(), federated: Vec::new(), crls: Vec::new() }
    }

    /// Every file that matters.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.federated.iter().map(|domain| &domain.roots).chain(self.crls.iter().map(|crl| &crl.path))
    }
}

/// One state of trust; replaced whole.
pub struct Bundle {
    trust_domain: TrustDomain,
    aliases: Vec<TrustDomain>,
    ours: Vec<TrustAnchor<'static>>,
    federated: Vec<(TrustDomain, Vec<TrustAnchor<'static>>)>,
    crls: Arc<[CertRevocationList<'static>]>,
}

impl Bundle {
    /// Believes `roots` for the options' own domain.
    ///
    /// # Errors
    /// A root that is no certificate.
    pub fn new(options: &TrustOptions, roots: &[CertificateDer<'_>]) -> Result<Self, PeerError> {
        Ok(Self {
            trust_domain: options.trust_domain.clone(),
            aliases: options.aliases.clone(),
            ours: anchors(roots)?,
            federated: Vec::new(),
            crls: Arc::default(),
        })
    }

    /// The same with what the options' files say now.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn with_files(self, options: &TrustOptions) -> Result<Self, FileError> {
        let federated = options.federated.iter().map(|domain| {
            let roots = certificates_in(&domain.roots)?;
            let anchors = anchors(&roots).map_err(|error| FileError::new(&domain.roots, error))?;
            Ok((domain.trust_domain.clone(), anchors))
        });
        let federated = federated.collect::<Result<_, FileError>>()?;
        let mut crls = Vec::new();
        for file in &options.crls {
            crls.extend(read_crls(file)?);
        }
        Ok(Self { federated, crls: crls.into(), ..self })
    }

    /// The same under other roots of our own.
    ///
    /// # Errors
    /// A root that is no certificate.
    pub fn with_roots(&self, roots: &[CertificateDer<'_>]) -> Result<Self, PeerError> {
        Ok(Self {
            trust_domain: self.trust_domain.clone(),
            aliases: self.aliases.clone(),
            ours: anchors(roots)?,
            federated: self.federated.clone(),
            crls: Arc::clone(&self.crls),
        })
    }

    /// The mesh's own trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// How many lists of revoked certificates are in force.
    pub fn lists(&self) -> usize {
        self.crls.len()
    }

    /// Checks a chain (leaf first) as a handshake at `now` would.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check(
        &self,
        provider: &CryptoProvider,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        role: PeerRole,
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerError> {
        let usage = match role {
            PeerRole::Server => KeyUsage::server_auth(),
            PeerRole::Client => KeyUsage::client_auth(),
        };
        // Whose roots count depends on the name; a name alone proves nothing yet. Without one, ours count.
        let peer = VerifiedPeer::from_certificates(std::slice::from_ref(leaf));
        let roots = match &peer {
            Ok(peer) => self.roots_of(&peer.id().trust_domain).unwrap_or(&self.ours),
            Err(_) => &self.ours,
        };
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                let algorithms = provider.signature_verification_algorithms.all;
                let revocation = revocation(&crls);
                leaf.verify_for_usage(algorithms, roots, intermediates, now, usage, revocation, None).map(drop)
            })
            .map_err(reason)?;
        let peer = peer?;
        if self.roots_of(&peer.id().trust_domain).is_none() {
            let (expected, presented) = (self.trust_domain.clone(), peer.id().trust_domain.clone());
            return Err(PeerError::WrongTrustDomain { expected, presented });
        }
        Ok(peer)
    }

    /// The identity by the name that it has in this mesh: an alias of our domain is our domain.
    pub fn known_as(&self, id: &SpiffeId) -> Option<SpiffeId> {
        let alias = self.aliases.contains(&id.trust_domain);
        alias.then(|| SpiffeId { trust_domain: self.trust_domain.clone(), ..id.clone() })
    }

    fn roots_of(&self, domain: &TrustDomain) -> Option<&[TrustAnchor<'static>]> {
        if *domain == self.trust_domain || self.aliases.contains(domain) {
            return Some(&self.ours);
        }
        self.federated.iter().find(|(name, _)| name == domain).map(|(_, roots)| roots.as_slice())
    }
}

/// Revocation is asked of every link of a chain; where no list speaks for an issuer, nothing of it is revoked. A list
/// past its `nextUpdate` still counts: the certificates in it have not become good.
fn revocation<'a>(crls: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(crls).ok()?;
    let options = options.with_depth(RevocationCheckDepth::Chain);
    Some(options.with_status_policy(UnknownStatusPolicy::Allow).build())
}

fn anchors(roots: &[CertificateDer<'_>]) -> Result<Vec<TrustAnchor<'static>>, PeerError> {
    let anchor = |root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned());
    roots.iter().map(anchor).collect::<Result<_, _>>().map_err(reason)
}

fn read_crls(file: &CrlFile) -> Result<Vec<CertRevocationList<'static>>, FileError> {
    let pem = match std::fs::read(&file.path) {
        Ok(pem) => pem,
        Err(error) if !file.required && error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new(&file.path, format!("cannot be read: {error}"))),
    };
    let lists = CertificateRevocationListDer::pem_slice_iter(&pem).map(|der| {
        let der = der.map_err(|error| format!("is not PEM: {error}"))?;
        let list = OwnedCertRevocationList::from_der(&der);
        list.map(CertRevocationList::Owned).map_err(|error| format!("holds a list that is not understood: {error}"))
    });
    let lists: Vec<_> = lists.collect::<Result<_, String>>().map_err(|why| FileError::new(&file.path, why))?;
    if lists.is_empty() {
        return Err(FileError::new(&file.path, "holds no certificate revocation list (X509 CRL)"));
    }
    Ok(lists)
}

fn reason(error: webpki::Error) -> PeerError {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => PeerError::OtherRoot,
        webpki::Error::CertExpired { .. } => PeerError::Expired,
        webpki::Error::CertNotValidYet { .. } => PeerError::NotYetValid,
        webpki::Error::CertRevoked => PeerError::Revoked,
        webpki::Error::RequiredEkuNotFoundContext(_) => PeerError::WrongPurpose,
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::TrailingData(_) => PeerError::Malformed,
        other => PeerError::Refused(other.to_string().into()),
    }
}
