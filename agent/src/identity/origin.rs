//! Where certificates come from: signed here, or asked of an authority.

use super::authority::{Authority, AuthorityError};
use super::bundle::{Bundle, TrustOptions};
use super::issue::{Identity, IssueError, new_key};
use super::remote::{Remote, RemoteError, RemoteOptions};
use super::tls;
use super::verify::{PeerRole, Trust};
use crate::vocab::SpiffeId;
use arc_swap::ArcSwap;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum OriginOptions {
    /// A `cacerts` directory: this agent signs. For one machine, and the lab.
    Local(PathBuf),
    /// An authority that knows which pods are on which node.
    Remote(RemoteOptions),
}

/// The same, open.
pub(super) enum Origin {
    Local { directory: PathBuf, authority: ArcSwap<Authority> },
    Remote(Remote),
}

impl Origin {
    pub(super) fn open(options: OriginOptions, trust: &Trust) -> Result<Self, AuthorityError> {
        let directory = match options {
            OriginOptions::Local(directory) => directory,
            OriginOptions::Remote(options) => return Ok(Self::Remote(Remote::new(options))),
        };
        let authority = Authority::load(&directory, &trust.options().trust_domain, SystemTime::now())?;
        trust.set_roots(authority.roots()).map_err(|error| AuthorityError::of_roots(&directory, &error))?;
        Ok(Self::Local { directory, authority: ArcSwap::from_pointee(authority) })
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Local { directory, .. } => directory.display().to_string(),
            Self::Remote(remote) => remote.options().address.clone(),
        }
    }

    /// Whether asking takes a while: then it is done before a connection needs it.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// A new key with its certificate; what the authority says of its roots is believed with it.
    pub(super) async fn issue(
        &self,
        id: &SpiffeId,
        trust: &Arc<Trust>,
        lifetime: Duration,
    ) -> Result<Identity, IssueError> {
        let key = new_key()?;
        match self {
            Self::Local { authority, .. } => {
                let (chain, _) = authority.load().certify(id, &key, lifetime, SystemTime::now())?;
                Identity::new(id, chain, &key, trust)
            }
            Self::Remote(remote) => {
                let chain = remote.certify(id, request(id, &key)?, lifetime).await?;
                let (chain, roots) = taken_apart(&chain).map_err(RemoteError::Answer)?;
                judged(id, (&chain, &roots), trust.options()).map_err(RemoteError::Answer)?;
                let identity = Identity::new(id, chain, &key, trust)?;
                let believed = trust.set_roots(&roots).map_err(|error| RemoteError::Answer(error.to_string()))?;
                if believed {
                    tracing::info!(roots = roots.len(), "roots of trust learned from the certificate authority");
                }
                Ok(identity)
            }
        }
    }

    /// The files that decide what is issued.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Local { directory, .. } => Authority::files(directory).to_vec(),
            Self::Remote(remote) => vec![remote.options().root_cert.clone()],
        }
    }

    /// Takes the directory's authority if its files changed and are good. Says whether all is to be issued again.
    ///
    /// # Errors
    /// The file that is wrong; the authority in force stays.
    pub(super) fn reload(&self, trust: &Trust, now: SystemTime) -> Result<bool, AuthorityError> {
        let Self::Local { directory, authority } = self else {
            return Ok(false);
        };
        if authority.load().is_of(directory) {
            return Ok(false);
        }
        let new = Authority::load(directory, &trust.options().trust_domain, now)?;
        trust.set_roots(new.roots()).map_err(|error| AuthorityError::of_roots(directory, &error))?;
        authority.store(Arc::new(new));
        tracing::info!(directory = %directory.display(), "certificate authority reloaded");
        Ok(true)
    }
}

/// A CSR as ztunnel sends it: the identity as its only name.
fn request(id: &SpiffeId, key: &KeyPair) -> Result<String, IssueError> {
    let uri = id.to_string().try_into().map_err(|_| IssueError::Unwritable(id.clone()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri)];
    Ok(params.serialize_request(key)?.pem()?)
}

type Certificates = Vec<CertificateDer<'static>>;

/// Leaf and intermediates, and the roots: Istio's authorities put the root last, or all that they believe.
fn taken_apart(chain: &[String]) -> Result<(Certificates, Certificates), String> {
    let (roots, chain) = chain.split_last().ok_or("no certificate")?;
    let read = |pem: &String| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?.concat();
    let roots = read(roots).map_err(|error| error.to_string())?;
    if chain.is_empty() || roots.is_empty() {
        return Err("expected a certificate and, last, its root".to_owned());
    }
    Ok((chain, roots))
}

/// Whether peers will believe it: under the roots that it came with, for the name that was asked for.
fn judged(id: &SpiffeId, (chain, roots): (&Certificates, &Certificates), trust: &TrustOptions) -> Result<(), String> {
    let bundle = Bundle::new(trust, roots).map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    for role in [PeerRole::Server, PeerRole::Client] {
        let peer = bundle.check(&tls::provider(), (&chain[0], &chain[1..]), role, now);
        let peer = peer.map_err(|error| format!("as a peer would see it: {error}"))?;
        peer.expect(id).map_err(|error| error.to_string())?;
    }
    Ok(())
}
